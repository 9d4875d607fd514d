"""Tables of mixed columns: of what kind each column is, and how a row of them is x.

A column is categorical where it is text, binary where it holds 0 and 1 alone, and real otherwise; or what is said. They
stand in x in the table's order, a categorical one as a one-hot (:mod:`ppgen.data.column`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppgen.arguments import one_of
from ppgen.data.column import Column, ColumnKind
from ppgen.data.columns import Classes, check_complete, check_numbers, is_text, kind_found
from ppgen.data.sources import rows_of
from ppgen.errors import UsageError, setting, shown, spelled

__all__ = ["Kinds", "are_mixed", "columns_found", "kinds_of_text", "rows_in"]

Kinds = Mapping[str, Any]
"""What is said of columns, by name: real, binary, categorical, or the list of a categorical one's categories."""

MOST_CATEGORIES = 100
"""Of a column of text that nobody has said is categorical."""


def kinds_of_text(given: Any) -> Kinds:
    """Kinds by name: a dict, or its text without quotes, as a shell hands it on; None for none.

    >>> kinds_of_text("town:categorical,age:real")
    {'town': 'categorical', 'age': 'real'}

    Raises:
        UsageError: it is neither, or names another kind.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        entries = [entry.partition(":") for entry in given.strip("{} ").split(",")]
        given = {name.strip(" '\""): kind.strip(" '\"") for name, _, kind in entries}
    if not isinstance(given, Mapping):
        raise UsageError(f"kinds must say kinds of columns by their names, got {shown(given)}.")
    for name, kind in given.items():
        if not isinstance(kind, list | tuple):
            one_of(f"column {shown(name)} cannot be", kind, get_args(ColumnKind))
    return {str(name): kind for name, kind in given.items()}


def columns_found(where: str, table: Mapping[str, Any], said: Kinds) -> tuple[Column, ...]:
    """The columns of a table of training data, in its order.

    Args:
        where: the split, for errors.
        table: columns by name, (N,) each.
        said: of which kind some are.

    Raises:
        UsageError: a value is missing, a column holds one value or free text, or neither numbers nor text.
    """
    for name in said:
        one_of(f"{where} has no column", name, table)
    found = tuple(_column(where, name, values, said.get(name)) for name, values in table.items())
    if any(column.kind != "binary" for column in found):  # of bits alone one that never changes has a likelihood
        _check_vary(where, table, [one.name for one in found if one.kind != "categorical" and one.name not in said])
    return found


def are_mixed(columns: Sequence[Column]) -> bool:
    """Whether no one kind of numbers is that of all columns."""
    kinds = {column.kind for column in columns}
    return "categorical" in kinds or len(kinds) > 1


def rows_in(where: str, table: Mapping[str, Any], columns: Sequence[Column]) -> Tensor:
    """x, (N, D), of a table: these columns side by side.

    Raises:
        UsageError: a value is missing, a column holds what its kind does not, or a category that it has not.
    """
    return torch.cat([_numbers(where, table[column.name], column) for column in columns], 1)


def _column(where: str, name: str, values: Any, said: Any) -> Column:
    if isinstance(said, list | tuple):
        return Column(name, "categorical", tuple(map(str, said)))
    kind = said or _kind(where, name, values)
    if kind != "categorical":
        return Column(name, kind)
    check_complete(where, f"column {shown(name)}", values)
    categories = _categories(values)
    if len(categories) < 2:
        raise UsageError(f"{_same(where, name, categories[0] if categories else '')}.")
    if said is None and (len(categories) > MOST_CATEGORIES or 2 * len(categories) > len(values)):
        raise UsageError(
            f"column {shown(name)} of {where} holds {len(categories):,} different texts in {len(values):,} rows, such "
            f"as {shown(categories[0])}, and is no category: leave it out by naming those of x, "
            f"{setting('D', 'columns', ['a', 'b'])}, or say that it is one, {_said(name, 'categorical')}."
        )
    return Column(name, "categorical", categories)


def _check_vary(where: str, table: Mapping[str, Any], names: Sequence[str]) -> None:
    """Check that these columns of numbers hold more than one each."""
    for name in names:
        numbers = _of_numbers(where, name, table[name])
        if len(numbers) > 1 and bool((numbers == numbers[0]).all()):
            real = setting("D", "observation", "real")
            raise UsageError(
                f"{_same(where, name, numbers[0].item())}, or take all columns as real numbers, {real}, which keeps it."
            )


def _same(where: str, name: str, value: Any) -> str:
    return (
        f"column {shown(name)} of {where} holds {shown(value)} in every row, which tells nothing: leave it out by "
        f"naming those of x, {setting('D', 'columns', ['a', 'b'])}"
    )


def _said(name: str, kind: str) -> str:
    return spelled(f"-D kinds={name}:{kind}", f"kinds={{{name!r}: {kind!r}}}")


def _kind(where: str, name: str, values: Any) -> Any:
    if is_text(values) or getattr(getattr(values, "dtype", None), "name", "") == "category":
        return "categorical"
    return "binary" if kind_found(_of_numbers(where, name, values)) == "binary" else "real"


def _of_numbers(where: str, name: str, values: Any) -> Tensor:
    check_numbers(where, {name: values})
    return rows_of(f"column {shown(name)} of {where}", values)[:]


def _numbers(where: str, values: Any, column: Column) -> Tensor:
    """The numbers of a column, (N, size), in torch's default type."""
    said = f"column {shown(column.name)}"
    if column.kind == "categorical":
        check_complete(where, said, values)
        known = Classes(column.categories)
        return torch.eye(column.size)[known.numbered(where, _as_texts(values), said, "category")]
    found = _of_numbers(where, column.name, values)
    if column.kind == "binary" and bool((wrong := (found != 0) & (found != 1)).any()):
        row = int(wrong.nonzero()[0])
        raise UsageError(
            f"{said} of {where} is binary and must hold 0 or 1, got {found[row].item():g} in row {row}: correct it, or "
            f"say that it is real, {_said(column.name, 'real')}."
        )
    return found.to(torch.get_default_dtype())[:, None]


def _categories(values: Any) -> tuple[str, ...]:
    """The names of categories, numbers in their order, texts in theirs."""
    array = np.asarray(values)
    different = np.unique(array) if array.dtype.kind in "iufb" else np.unique(_as_texts(array))
    return tuple(_as_texts(different).tolist())


def _as_texts(values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    whole = array.dtype.kind == "f" and bool((array == array.round()).all())
    return np.array([str(one) for one in (array.astype(np.int64) if whole else array).tolist()])
