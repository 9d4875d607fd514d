"""Ranks that train together have the same code, data and options: what each says of itself before it begins."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ppgen.errors
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import unwrapped

__all__ = ["facts_of"]

_DIGITS = 16
"""Of a hash, that are compared and shown."""


def facts_of(pair: Pair, objective: Objective, config: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same on all ranks, by a name for people.

    The versions and files of the code, ppgen's and those that pair and objective are written in; model, data (by their
    hash), objective and options as ``config.json`` has them.
    """
    plain = json.loads(json.dumps(config, default=str))
    parts = {
        f"{part} {key}": value
        for part in ("versions", "data", "model", "spec", "objective", "training")
        for key, value in plain[part].items()
    }
    return {**parts, **{f"the code of {name}": _digest(file) for name, file in _files(pair, objective)}}


def _files(pair: Pair, objective: Objective) -> Iterator[tuple[str, Path]]:
    home = Path(ppgen.errors.__file__).parent
    for folder in (home, home / "models", home / "inference"):
        for file in sorted(filter(Path.is_file, folder.resolve().rglob("*.py"))):
            yield f"{folder.name}/{file.relative_to(folder.resolve())}", file
    functions = getattr(pair, "_functions", ())
    things: list[Any] = [type(pair), type(objective), *map(unwrapped, functions)]
    for thing in things:
        with suppress(TypeError, OSError):  # a callable object, a class made in a console
            if written := inspect.getsourcefile(thing):
                yield Path(written).name, Path(written)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:_DIGITS]
