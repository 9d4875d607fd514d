"""A directed network of discrete variables as a formula, P(J|A)P(M|A)P(A|B,E)P(B)P(E), and its tables.

Every variable has one factor P(variable | parents), whose table has the shape (states of each parent, in the formula's
order, states of the variable), each row summing to one.

Reference: Probabilistic Reasoning in Intelligent Systems, Pearl, 1988, chapter 3.
"""

from __future__ import annotations

import csv
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
    """The tables by variable, of a dict or of the JSON or CSV file that a text names; none where None is given.

    A line of a ``.csv`` file is a row of a table: ``A,B=0 E=1,0.71,0.29``, the variable, the states of its parents, and
    the probabilities of its own states.

    Raises:
        UsageError: the file cannot be read; a variable is unknown, or lacks a table.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        path = Path(given).expanduser()
        try:
            text = path.read_text()
            given = _of_lines(given, text, parents) if path.suffix == ".csv" else json.loads(text)
        except OSError as error:
            raise UsageError(f"tables must name a JSON or CSV file, got {shown(given)}: {error.strerror}.") from error
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UsageError(
                f"tables must name a JSON file of an object, variable to table, or a .csv file, and {shown(given)} is "
                f"none: {error}."
            ) from error
    if not isinstance(given, Mapping):
        raise UsageError(f"tables must be an object, variable to table, got {shown(given)}.")
    for name in given:
        one_of("tables have the variable", name, parents)
    if missing := [name for name in parents if name not in given]:
        raise UsageError(f"tables lack that of {shown(missing[0])}: give all, or none to learn them.")
    return dict(given)


_Rows = dict[tuple[int, ...], list[float]]


def _of_lines(file: str, text: str, parents: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Tables of the lines of a CSV file; a first line that names columns is left out."""
    found: dict[str, _Rows] = {}
    for number, line in enumerate(csv.reader(text.splitlines()), 1):
        if not line or (number == 1 and line[0].strip() == "variable"):
            continue
        name = line[0].strip()
        one_of(f"{file}, line {number}, is of the variable", name, parents)
        read = _row_of(line, parents[name])
        if read is None or read[0] in found.setdefault(name, {}):
            example = ",".join([name, " ".join(f"{parent}=0" for parent in parents[name]), "0.9", "0.1"])
            raise UsageError(
                f"{file}, line {number}, must be a row of its own, {example}: the variable, the state of each parent, "
                f"and probabilities; got {shown(','.join(line))}."
            )
        found[name][read[0]] = read[1]
    return {name: _table_of_rows(f"{file}: the table of {name}", parents[name], rows) for name, rows in found.items()}


def _row_of(cells: list[str], above: tuple[str, ...]) -> tuple[tuple[int, ...], list[float]] | None:
    """States of the parents and probabilities; None: it is no such row."""
    try:
        states = dict(re.findall(r"(\w+)\s*=\s*(\d+)", cells[1]))
        row = tuple(int(states.pop(parent)) for parent in above)
        return None if states else (row, [float(cell) for cell in cells[2:]])
    except (IndexError, KeyError, ValueError):
        return None


def _table_of_rows(what: str, above: tuple[str, ...], rows: _Rows) -> Tensor:
    """Probabilities by states of parents, (states of each, states of the variable)."""
    sizes = [1 + max(states) for states in zip(*rows, strict=True)]
    for row in product(*map(range, sizes)):
        if row not in rows:
            lacking = " ".join(f"{parent}={state}" for parent, state in zip(above, row, strict=True))
            raise UsageError(f"{what} lacks the row {lacking}: add it.")
    if len({len(probs) for probs in rows.values()}) > 1:
        raise UsageError(f"{what} has rows of different lengths: give each the probabilities of all states.")
    return torch.tensor([rows[row] for row in sorted(rows)], dtype=torch.float64).reshape(*sizes, -1)


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
