"""What the page's sections share, and what makes a section of a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import TYPE_CHECKING, TypeVar

from ppgen.diagnostics.finding import Finding
from ppgen.errors import is_out_of_memory
from ppgen.pages.charts import plot_sorted
from ppgen.pages.elements import Figure, Group, Section, figure_of
from ppgen.pages.numbers import number

if TYPE_CHECKING:
    from ppgen.runs.run import Run

D = TypeVar("D")

__all__ = ["k_hats", "name_of_value", "of_question", "pictured", "shown_data"]


def pictured(
    title: str, applies: Callable[[Run], bool] = lambda run: True, *, group: Group = "Pictures"
) -> Callable[[Callable[[Run], Iterator[Figure]]], Callable[[Run], Section | None]]:
    """Make a section of a function that yields figures: None for a run to which it does not apply.

    Where the pair cannot give the figures, the section says why.
    """

    def decorate(figures: Callable[[Run], Iterator[Figure]]) -> Callable[[Run], Section | None]:
        @wraps(figures)
        def section(run: Run) -> Section | None:
            try:
                return Section(title, figures=tuple(figures(run)), group=group) if applies(run) else None
            except (RuntimeError, ValueError) as error:
                if is_out_of_memory(error):
                    raise
                return Section(title, f"There is no such picture of this pair: {error}", group=group)

        return section

    return decorate


def k_hats(k: Sequence[float], threshold: float | None, caption: str) -> Figure:
    """The k-hats of data in order, against their threshold."""
    chart = plot_sorted([("k-hat", k)], threshold or 0.0, of="data", y_label="Pareto k-hat")
    return figure_of(
        chart, f"The median k-hat is {number(sorted(k)[len(k) // 2])}, the largest {number(max(k))}.", caption
    )


def name_of_value(run: Run) -> str:
    """What the objective's value may be called: a bound on log p(x), or just the objective."""
    return "bound" if run.stage.is_bound else "objective"


def shown_data(run: Run) -> str:
    """What the data are that the page shows: test data where there are some."""
    return {"test": "test", "valid": "validation", "train": "training"}[run.data.last_split] + " data"


def of_question(
    question: str, details: type[D], title: str, *, group: Group = "Guide"
) -> Callable[[Callable[[Run, Finding, D], Iterator[Figure]]], Callable[[Run], Section | None]]:
    """Make a section of a function that draws one finding, by its details: None where there are no such details, as
    where the question was not answered, or nothing to draw."""

    def decorate(figures: Callable[[Run, Finding, D], Iterator[Figure]]) -> Callable[[Run], Section | None]:
        @wraps(figures)
        def section(run: Run) -> Section | None:
            every = () if run.diagnosis is None else run.diagnosis.findings
            of_it = [one for one in every if one.question == question and isinstance(one.details, details)]
            made = tuple(figure for found in of_it for figure in figures(run, found, found.details))
            return Section(title, figures=made, group=group) if made else None

        return section

    return decorate
