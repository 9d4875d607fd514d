"""What is asked of a table: which columns are x and which is y, and, of mixed columns, the kind of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ppgen.arguments import one_of
from ppgen.data.column import Column
from ppgen.data.columns import check_numbers, kind_found
from ppgen.data.mixed import Kinds, are_mixed, columns_found, rows_in
from ppgen.data.sources import rows_of
from ppgen.errors import UsageError, shown

__all__ = ["Chosen"]


@dataclass(frozen=True)
class Chosen:
    """What a table is asked for.

    Args:
        columns: of x; None: all but the target.
        target: the column of y; None: there is none.
        mixed: the columns of x with their kinds, in the table's order; none: all are numbers of one kind.
    """

    columns: tuple[str, ...] | None = None
    target: str | None = None
    mixed: tuple[Column, ...] = ()

    def settled(self, where: str, table: Mapping[str, Any], said: Kinds, *, mixed: bool | None) -> Self:
        """What is asked of held-out tables too, by the training data: these columns, in this order, of these kinds.

        Args:
            where: the split, for errors.
            table: of the training data.
            said: of which kind some columns are.
            mixed: whether they are of several kinds; None: found.

        Raises:
            UsageError: as :meth:`entries`, and as :func:`ppgen.data.mixed.columns_found`.
        """
        x = {name: table[name] for name in self._names(where, table)}
        if not x or any(np.ndim(column) != 1 for column in x.values()):
            if mixed:
                raise UsageError(
                    f"{where} has no columns of one number or text a row, and mixed data are made of some."
                )
            return self
        found = () if mixed is False else columns_found(where, x, said)
        return replace(self, columns=tuple(x), mixed=found if mixed or are_mixed(found) else ())

    def entries(self, where: str, table: Mapping[str, Any]) -> tuple[Any, ...]:
        """(x,) or (x, y) of a table: the columns side by side, and the target as it stands.

        Without either, a table whose entries are not all columns of numbers is a batch's entries in their order.

        Raises:
            UsageError: it has no such column, or none that is left for x, or one that is not of its kind.
        """
        names = self._names(where, table)
        if not names:
            return tuple(table.values())
        x = self._side_by_side(where, {name: table[name] for name in names})
        return (x,) if self.target is None else (x, table[self.target])

    def kinds(self, where: str, table: Mapping[str, Any]) -> dict[str, str]:
        """What each column of x holds, where all are columns."""
        if self.mixed:
            return {column.name: column.in_words for column in self.mixed}
        x = self._names(where, table)
        if any(np.ndim(table[name]) != 1 for name in x):
            return {}
        return {name: kind_found(rows_of(name, table[name])[:]) for name in x}

    def _names(self, where: str, table: Mapping[str, Any]) -> tuple[str, ...]:
        """The columns of x; none of a table that is a batch's entries in their order."""
        for name in (*(self.columns or ()), *([] if self.target is None else [self.target])):
            one_of(f"{where} has no column", name, table)
        if not table:
            raise UsageError(f"{where} must have columns of numbers, and has none.")
        if self == Chosen() and any(np.ndim(value) > 1 for value in table.values()):
            return ()
        x = self.columns or tuple(name for name in table if name != self.target)
        if not x:
            raise UsageError(f"{where} has the column {shown(self.target)} alone, and nothing for x: add columns.")
        return x

    def _side_by_side(self, where: str, x: Mapping[str, Any]) -> Any:
        """The columns as they stand in x; (N, D), or as many dims as one column alone has."""
        if self.mixed:
            return rows_in(where, x, self.mixed)
        check_numbers(where, x)
        rows = [rows_of(f"column {shown(name)} of {where}", column) for name, column in x.items()]
        return rows[0] if len(rows) == 1 and rows[0].ndim > 1 else _side_by_side(where, tuple(x), rows)


def _side_by_side(where: str, names: Sequence[str], rows: Sequence[Any]) -> Tensor:
    """Columns (N,), or blocks of them (N, ...), as one matrix (N, D)."""
    sizes = {name: len(part) if part.ndim else 0 for name, part in zip(names, rows, strict=True)}
    if len(set(sizes.values())) > 1:
        raise UsageError(f"the columns of {where} must have the same number of rows, got {shown(sizes)}.")
    blocks = [part[:][:, None] if part.ndim == 1 else part[:].flatten(1) for part in rows]
    return torch.cat(blocks, 1)
