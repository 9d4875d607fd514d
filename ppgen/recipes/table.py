"""Recipes as a table: what each is about, what was published, what was reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ppgen.factory import model_class
from ppgen.recipes.reading import recipes
from ppgen.recipes.recipe import Reached, Recipe, in_words

__all__ = ["COLUMNS", "families", "markdown", "rows"]

COLUMNS = ("recipe", "what it is", "number", "published", "reached", "when, on what")


def rows(name: str, recipe: Recipe) -> Iterator[tuple[str, ...]]:
    """A row for each number; the recipe's name and summary stand in the first."""
    first = (name, recipe.summary)
    for number in recipe.numbers or [""]:
        published = [
            f"{in_words(one.numbers[number])} ({one.source})" for one in recipe.published if number in one.numbers
        ]
        reached = [one for one in recipe.reached if number in one.numbers]
        values = "; ".join(in_words(one.numbers[number]) for one in reached)
        yield (*first, number, "; ".join(published), values, "; ".join(map(_when, reached)))
        first = ("", "")


def families() -> list[str]:
    """The families of models that have recipes: the folders of their files."""
    return sorted({_family(one) for one in recipes().values()})


def markdown(family: str | None = None) -> str:
    """A Markdown table of the recipes of a family; None: of all."""
    chosen = {name: one for name, one in recipes().items() if family in (None, _family(one))}
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for name, one in chosen.items():
        lines += [_line([f"`{first}`" if first else "", *others]) for first, *others in rows(name, one)]
    return "".join(lines)


def _line(cells: Iterable[str]) -> str:
    """A bar within a cell is escaped, since Markdown would end the cell there."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _family(recipe: Recipe) -> str:
    return model_class(recipe.model.name).__module__.split(".")[-2]


def _when(reached: Reached) -> str:
    minutes = "" if reached.minutes is None else f"{reached.minutes:g} minutes on "
    seed = f", seed {reached.seed}" if reached.seed else ""
    note = f", {reached.note}" if reached.note else ""
    return f"{reached.date}, {minutes}{reached.machine}{seed}{note}"
