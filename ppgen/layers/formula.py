"""A directed network of discrete variables as a formula, P(J|A)P(M|A)P(A|B,E)P(B)P(E), and its tables.

Every variable has one factor P(variable | parents), whose table has the shape (states of each parent, in the formula's
order, states of the variable), each row summing to one.

Reference: Probabilistic Reasoning in Intelligent Systems, Pearl, 1988, chapter 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import one_of
from ppgen.errors import UsageError, setting, shown

__all__ = ["parents_of", "read_tables", "table_of"]

_FACTOR = re.compile(r"P\(\s*(\w+)\s*(?:\|\s*(\w+(?:\s*,\s*\w+)*)\s*)?\)\s*\*?\s*")

_ROUNDING = 1e-4
"""By which a row's sum may differ from one, as of numbers with four digits."""


def parents_of(formula: str) -> dict[str, tuple[str, ...]]:
    """The parents of each variable, parents before children.

    Raises:
        UsageError: it is no formula; a variable has no factor, or two, or is among its own ancestors.

    >>> parents_of("P(J|A)P(A|B,E)P(B)P(E)")
    {'B': (), 'E': (), 'A': ('B', 'E'), 'J': ('A',)}
    """
    parents: dict[str, tuple[str, ...]] = {}
    rest = formula.strip()
    while rest:
        found = _FACTOR.match(rest)
        if found is None:
            raise UsageError(f"formula must be factors such as P(J|A)P(A|B,E)P(B)P(E), got {shown(rest)} in it.")
        name, given = found[1], found[2]
        if name in parents:
            raise UsageError(f"formula has two factors of {shown(name)}: write one, P({name}|...), with all parents.")
        parents[name] = tuple(part.strip() for part in given.split(",")) if given else ()
        rest = rest[found.end() :]
    if not parents:
        example = setting("M", "formula", "P(J|A)P(A|B,E)P(B)P(E)")
        raise UsageError(f"a Bayes net needs a formula, a factor for each variable: {example}.")
    for name, above in parents.items():
        lacking = [parent for parent in above if parent not in parents]
        if lacking:
            raise UsageError(
                f"formula has {shown(lacking[0])} as a parent of {shown(name)} and no P({lacking[0]}): add it."
            )
        if len(set(above)) < len(above):
            raise UsageError(f"formula has a parent of {shown(name)} twice: {', '.join(above)}.")
    return _in_order(parents)


def _in_order(parents: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    ordered: dict[str, tuple[str, ...]] = {}
    while len(ordered) < len(parents):
        ready = [name for name, above in parents.items() if name not in ordered and set(above) <= set(ordered)]
        if not ready:
            raise UsageError(
                f"formula has a cycle, {' -> '.join(_cycle(parents, ordered))}: a variable cannot be its own ancestor; "
                "turn one of these arrows round, or leave it out."
            )
        ordered |= {name: parents[name] for name in ready}
    return ordered


def _cycle(parents: Mapping[str, tuple[str, ...]], known: Mapping[str, Any]) -> list[str]:
    """A way from a variable to itself, along the arrows."""
    way = [next(name for name in parents if name not in known)]
    while way.count(way[-1]) < 2:
        way.append(next(parent for parent in parents[way[-1]] if parent not in known))
    return way[way.index(way[-1]) :][::-1]


def read_tables(given: Mapping[str, Any] | str | None, parents: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The tables by variable, of a dict or of the JSON file that a text names; none where None is given.

    Raises:
        UsageError: the file cannot be read; a variable is unknown, or lacks a table.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        try:
            given = json.loads(Path(given).expanduser().read_text())
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UsageError(f"tables must name a JSON file of an object, variable to table: {error}.") from error
    if not isinstance(given, Mapping):
        raise UsageError(f"tables must be an object, variable to table, got {shown(given)}.")
    for name in given:
        one_of("tables have the variable", name, parents)
    if missing := [name for name in parents if name not in given]:
        raise UsageError(f"tables lack that of {shown(missing[0])}: give all, or none to learn them.")
    return dict(given)


def table_of(name: str, parents: tuple[str, ...], given: Any, states: Mapping[str, int]) -> Tensor:
    """A table in float64, of the shape (states of parents, states of the variable).

    Raises:
        UsageError: it has another shape, a number below zero, or a row that does not sum to one (the row is named).
    """
    shape = tuple(states[one] for one in (*parents, name))
    try:
        table = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"the table of {shown(name)} must be numbers of shape {shape}: {error}.") from error
    if table.shape != shape:
        raise UsageError(
            f"the table of {shown(name)} must have shape {shape}, the states of {', '.join((*parents, name))}, got "
            f"{tuple(table.shape)}."
        )
    for row in product(*map(range, shape[:-1])):
        values, where = table[row], ", ".join(f"{one}={state}" for one, state in zip(parents, row, strict=True))
        if not bool((values >= 0).all()) or abs(float(values.sum()) - 1) > _ROUNDING:
            raise UsageError(
                f"the table of {shown(name)} must have rows of probabilities that sum to one, and "
                f"{f'row {where}' if where else 'its row'} is {values.tolist()}, which sums to "
                f"{float(values.sum()):g}: correct it."
            )
    return table / table.sum(-1, keepdim=True)
