"""The engine's rooms: who may import whom, read from the sources; imports in functions and for types count."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ppgen.tables import LEVELS

ROOT = Path(__file__).resolve().parents[1]
LEVEL = {name: level for level, names in enumerate(LEVELS, start=1) for name in names}
LEAVES = ("models", "inference")


def files() -> Iterator[tuple[str, Path]]:
    """Every module below ``ppgen`` by its dotted name, a package by its ``__init__``."""
    for folder in ("ppgen", *LEAVES):
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if parts[1] not in LEAVES:  # the links are the same files
                yield ".".join(parts if folder == "ppgen" else ("ppgen", *parts)), file


def imported(text: str, modules: set[str]) -> set[str]:
    """The modules of ``ppgen`` that a source imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        for module, name in names:
            if module.split(".")[0] == "ppgen":
                whole = [f"{module}.{name}", f"{module}.{name}.__init__", module, f"{module}.__init__"]
                found.add(next(one for one in whole if one in modules))
    return found


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    """The modules that each module imports."""
    sources = dict(files())
    return {name: imported(file.read_text(encoding="utf-8"), set(sources)) - {name} for name, file in sources.items()}


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_a_level_and_every_level_its_rooms(arrows: dict[str, set[str]]) -> None:
    assert {room(module) for module in arrows} == set(LEVEL)
    assert len(list((ROOT / "ppgen").glob("*.py"))) <= 14


def test_no_import_runs_upwards(arrows: dict[str, set[str]]) -> None:
    upwards = [
        f"{module} imports {other}"
        for module, others in arrows.items()
        for other in others
        if room(other) != room(module) and LEVEL[room(other)] >= LEVEL[room(module)]
    ]
    assert upwards == []


def test_no_import_runs_in_a_circle(arrows: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"imports run in a circle: {' -> '.join(error.args[1])}")


def test_no_model_imports_a_model_and_no_objective_an_objective(arrows: dict[str, set[str]]) -> None:
    across = [
        f"{module} imports {other}"
        for module, others in arrows.items()
        for other in others
        if room(module) in LEAVES and not module.endswith("__init__") and room(other) == room(module)
    ]
    assert across == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import ppgen.errors", {"ppgen.errors"}),
        ("def f():\n    from ppgen.runs import Run", {"ppgen.runs.__init__"}),
        ("if TYPE_CHECKING:\n    from ppgen import runs", {"ppgen.runs.__init__"}),
        ("from ppgen.runs import run", {"ppgen.runs.run"}),
        ("import torch", set()),
    ],
)
def test_imports_are_read_wherever_they_stand(source: str, found: set[str]) -> None:
    assert imported(source, {"ppgen.errors", "ppgen.runs.__init__", "ppgen.runs.run", "ppgen.__init__"}) == found
