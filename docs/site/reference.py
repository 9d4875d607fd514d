"""The pages of the reference: one a room of the engine, with every name that the room makes public, module by module.

Public is what a room's ``__all__`` names, or those of its modules where the room itself names nothing. A name that is
imported from elsewhere is described once, on the page of the room that defines it. Sources are read and not run.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from ppgen.tables import LEVELS

__all__ = ["home_of", "homes", "pages"]

_SOURCES = Path(__file__).resolve().parents[2]

_INDEX = """\
# Reference

Every public name, by the room of the engine that defines it. [Architecture](../architecture.md) says how the rooms
stand on each other, and [commands](commands.md) has those of the shell. What `import ppgen` gives:

| name | what it is |
| --- | --- |
{names}
## Rooms

| room | what it is for |
| --- | --- |
{rooms}"""

_ROOM = """\
# {room}

::: {room}
    options:
      members: [{names}]
      show_root_heading: false
      show_root_toc_entry: false

"""

_MODULE = """\
::: {module}
    options:
      members: [{names}]

"""


def pages() -> dict[str, str]:
    """The Markdown of the pages by their places below ``reference/``."""
    rooms: dict[str, dict[str, list[str]]] = {}
    for home in homes():
        module, _, name = home.rpartition(".")
        rooms.setdefault(_room(home), {}).setdefault(module, []).append(name)
    index = _INDEX.format(
        names="".join(f"| {_link(_home(module, name))} |\n" for module, name in _exports("ppgen")),
        rooms="".join(f"| {_link(room)} |\n" for room in sorted(rooms)),
    )
    return {"index.md": index, **{f"{_last(room)}.md": _page(room, rooms[room]) for room in sorted(rooms)}}


def _page(room: str, modules: dict[str, list[str]]) -> str:
    """A room's page: what the room says of itself, and then module by module."""
    each = (
        _MODULE.format(module=module, names=", ".join(sorted(names)))
        for module, names in sorted(modules.items())
        if module != room
    )
    own = ", ".join(sorted(modules.get(room, [])))
    return _ROOM.format(room=room, names=own) + "".join(each)


@cache
def homes() -> list[str]:
    """Where each public name is defined, such as ``ppgen.pairs.pair.Pair``, room by room."""
    rooms = ["ppgen", *(f"ppgen.{name}" for level in LEVELS for name in level if not name.startswith("_"))]
    found = dict.fromkeys(_home(module, name) for room in rooms for module, name in _exports(room))
    return [home for home in found if _file(home) is None]


def home_of(name: str) -> str | None:
    """Where a public name is defined, given as users write it, ``ppgen.fit``; None: it is none."""
    module, _, last = name.rpartition(".")
    home = _home(module, last) if _file(module) else None
    return home if home in homes() else None


def _exports(module: str) -> list[tuple[str, str]]:
    """(module, name) of what a module makes public; a package that says nothing has what its modules have."""
    file = _file(module)
    assert file is not None
    for node in _tree(file).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return [(module, name) for name in ast.literal_eval(node.value)]
    if file.name != "__init__.py":
        return []
    inner = sorted(
        {path.stem for path in file.parent.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    )
    return [export for name in inner if name != "__init__" for export in _exports(f"{module}.{name}")]


def _home(module: str, name: str) -> str:
    """The place of the definition of what ``module`` has as ``name``: imports are followed."""
    file = _file(module)
    assert file is not None
    for node in _tree(file).body:
        if isinstance(node, ast.ImportFrom) and node.module != module:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _home(str(node.module), alias.name)
    return f"{module}.{name}"


def _link(place: str) -> str:
    """Two cells of a table: the name, which leads to what the reference says of it, and the first sentence of that."""
    target = f"{_last(_room(place))}.md" + ("" if _file(place) else f"#{place}")
    return f"[`{_last(place)}`]({target}) | " + _said_of(place).replace("|", "\\|")


def _said_of(place: str) -> str:
    """The first line of the docstring of a module or of what a module defines."""
    module, _, name = place.rpartition(".")
    if file := _file(place):
        return _first_line(_tree(file))
    file = _file(module)
    assert file is not None
    body = _tree(file).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return _first_line(node)
        names = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(one, ast.Name) and one.id == name for one in names) and isinstance(after, ast.Expr):
            return str(ast.literal_eval(after.value)).partition("\n")[0]
    return ""


def _first_line(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _room(place: str) -> str:
    return ".".join(place.split(".")[:2])


def _last(place: str) -> str:
    return place.rpartition(".")[2]


def _file(module: str) -> Path | None:
    """Where a module's source stands; None: there is no such module."""
    path = _SOURCES / module.replace(".", "/")
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
