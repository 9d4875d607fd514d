"""The tables in the pages: models, objectives and data from the registry, recipes, what lights are worth, the rooms
of the engine by level.

A page says where a table goes by two markers, each on a line of its own; what stands between them is ours::

    <!-- table: models -->
    <!-- end of table -->

``python -m ppgen.tables`` rewrites README.md and the pages under docs/; with ``--check`` it writes nothing,
names the stale pages and exits with code 1.
"""

import ast
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ppgen.arguments import one_of
from ppgen.diagnostics.proof import by_fault, by_question, compared
from ppgen.errors import UsageError
from ppgen.recipes.table import families, markdown
from ppgen.registry import DATA, MODELS, OBJECTIVES, Registry, Spec

__all__ = ["LEVELS", "main", "render", "stale", "table"]

LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "versions"),
    ("arguments", "user_code"),
    ("registry", "schedules", "files", "machine", "distributions", "measuring"),
    ("pairs", "data", "calls"),
    ("layers", "chains", "posterior", "pages"),
    ("models", "objectives", "draws"),
    ("inference", "training", "evaluation", "factory"),
    ("diagnostics", "logging"),
    ("runs",),
    ("comparison", "report", "recipes", "testing"),
    ("sweeps", "tables"),
    ("cli",),
    ("__init__", "__main__"),
)
"""The rooms of ``ppgen/``, folders and single modules, from the ground up: each imports from lower levels only."""

MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def in_python(spec: Spec) -> str:
    """The class's name, or the call that loads a data set, with its options."""
    if isinstance(spec.cls, type):
        return spec.cls.__name__
    return f"load_data({', '.join([repr(spec.name), *(f'{option}=' for option in spec.options)])})"


def row(spec: Spec) -> str:
    """One line of a table."""
    year = "" if str(spec.year) in spec.reference else f" ({spec.year})"
    reference = f"[{spec.reference}]({spec.link})" if spec.link else spec.reference
    cells = (f"`{spec.name}`", f"`{in_python(spec)}`", spec.summary, reference + year)
    return "| " + " | ".join(map(_cell, cells)) + " |\n"


def table(registry: Registry) -> str:
    """A Markdown table of all entries, by name."""
    head = "| name | in Python | what it is | reference |\n| --- | --- | --- | --- |\n"
    return head + "".join(row(spec) for spec in registry.values())


def _cell(text: str) -> str:
    """A bar within a cell is escaped, since Markdown would end the cell there."""
    return text.replace("|", "\\|")


def rooms() -> str:
    """A Markdown table of all rooms, the highest level first: its number, each room, and what the room says it is."""
    head = "| level | room | what it is for |\n| ---: | --- | --- |\n"
    downwards = reversed(list(enumerate(LEVELS, start=1)))
    return head + "".join(f"| {level} | {_room(name)} |\n" for level, names in downwards for name in names)


def _room(name: str) -> str:
    home = Path(__file__).parent
    file = home / name / "__init__.py" if (home / name).is_dir() else home / f"{name}.py"
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    shown_as = f"`{name}/`" if file.name == "__init__.py" and name != "__init__" else f"`{name}.py`"
    return f"{shown_as} | {_cell(said.partition(chr(10))[0])}"


TABLES: dict[str, Callable[[], str]] = {
    "models": lambda: table(MODELS),
    "objectives": lambda: table(OBJECTIVES),
    "data": lambda: table(DATA),
    "rooms": rooms,
    "recipes": markdown,
    "proof": by_question,
    "faults": by_fault,
    "verdicts": compared,
    **{f"recipes_{family}": partial(markdown, family) for family in families()},
}


def render(text: str) -> str:
    """The text of a page with every marked table filled in.

    Raises:
        UsageError: a marker asks for a table that does not exist.
    """

    def fill(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        one_of("expected the name of a table in a marker, got", name, TABLES)
        return begin + TABLES[name]() + end

    return MARKED.sub(fill, text)


def pages(root: Path) -> list[Path]:
    """README.md and the pages under docs/.

    Raises:
        UsageError: ``root`` is not a checkout of the repository.
    """
    readme = root / "README.md"
    if not readme.is_file():
        raise UsageError(f"expected README.md in {root}, found none: run this from a checkout of the repository.")
    return [readme, *sorted((root / "docs").glob("*.md"))]


def stale(root: Path) -> dict[Path, str]:
    """The pages whose tables differ from the registry, with the text they should have."""
    texts = {page: page.read_text(encoding="utf-8") for page in pages(root)}
    return {page: new for page, text in texts.items() if (new := render(text)) != text}


def main(arguments: Sequence[str], root: Path) -> int:
    """Rewrite the stale pages under ``root``, or only name them. Returns the exit code."""
    check = "--check" in arguments
    found = stale(root)
    for page, text in found.items():
        if not check:
            page.write_text(text, encoding="utf-8")
        name = page.relative_to(root)
        print(f"{name}: tables are stale: run python -m ppgen.tables" if check else f"{name}: tables rewritten")
    return int(check and bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parents[1]))
