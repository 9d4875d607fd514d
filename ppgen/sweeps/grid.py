"""A grid: for each of some options the values it is to take, written ``lr=1e-3,3e-3`` or ``O.num_particles=1,5``.

An option of training goes by its name, one of the model, the objective or the data by the letter that sets it on the
command line and a point before it: ``M.latent_dim``, ``O.num_particles``, ``D.binarize``; ``objective`` is the
objective itself, with options in parentheses: ``objective=elbo,iwelbo(num_particles=5)``. A value is a Python literal,
and text otherwise; a comma within brackets is part of a value: ``M.hidden=[200],[200,200]``.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any
from urllib.parse import quote

from ppgen.errors import UsageError, shown

__all__ = ["OBJECTIVE", "Grid", "cells_of", "folder_name", "label_of", "parse_grid"]

Grid = Mapping[str, Sequence[Any]]

OBJECTIVE = "objective"

_LONGEST = 100
"""Characters of a folder's name."""


def parse_grid(texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The grid that is written as ``["lr=1e-3,3e-3", "O.num_particles=1,5"]``.

    Raises:
        UsageError: a text is not ``option=value,value``, an option comes twice.

    >>> parse_grid(["lr=1e-3,3e-3", "M.hidden=[4],[4, 4]", "schedule=cosine,linear(1, 0, 9)"])
    {'lr': (0.001, 0.003), 'M.hidden': ([4], [4, 4]), 'schedule': ('cosine', 'linear(1, 0, 9)')}
    """
    found: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        if key in found:
            raise UsageError(f"--grid {shown(key)} is given twice: give all its values at once, with commas between.")
        found[key] = _values(values, text)
    return found


def cells_of(grid: Grid) -> Iterator[dict[str, Any]]:
    """One value for each option, in every combination.

    >>> list(cells_of({"lr": (0.1, 0.2), "O.beta": (1,)}))
    [{'lr': 0.1, 'O.beta': 1}, {'lr': 0.2, 'O.beta': 1}]
    """
    return (dict(zip(grid, values, strict=True)) for values in product(*grid.values()))


def label_of(options: Mapping[str, Any]) -> str:
    """A cell in words."""
    return ", ".join(f"{key}={value}" for key, value in options.items())


def folder_name(options: Mapping[str, Any]) -> str:
    """A folder's name for a cell: another one for another cell, whatever other cells there are.

    >>> folder_name({"lr": 0.001, "O.beta": "linear(0, 1, 9)"}), folder_name({})
    ('lr=0.001,O.beta=linear(0,1,9)', '')
    """
    text = ",".join(f"{key}={value}".replace(", ", ",") for key, value in options.items())
    name = quote(text, safe="=,()[]")
    mark = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 13]}-{mark}"


def _values(text: str, whole: str) -> tuple[Any, ...]:
    source = f"[{text}]"
    try:
        tree = ast.parse(source, mode="eval").body
        if isinstance(tree, ast.List) and tree.elts:
            return tuple(_value(node, source) for node in tree.elts)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    raise UsageError(
        f"--grid expects an option and its values with commas between, got {shown(whole)}: write for example --grid "
        "lr=1e-3,3e-3 or --grid O.num_particles=1,5."
    )


def _value(node: ast.expr, source: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.get_source_segment(source, node)
