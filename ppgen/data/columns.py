"""Tables: columns by name, of a frame, a dict of arrays, a file; which of them are x, which is y, and of what kind.

A column's kind is binary (0 and 1), counts (0, 1, 2, ...) or real, and that of y may be categorical: names of classes,
which are numbered in their order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppgen.data.sources import opened_alone
from ppgen.errors import UsageError, cut, setting, shown

__all__ = ["Classes", "as_table", "check_complete", "check_numbers", "is_text", "kind_found", "names_of"]

MOST_CLASSES = 1000
"""Whole numbers 0..C-1, each of which occurs, are names of classes up to so many."""


def as_table(given: Any) -> Mapping[str, Any] | None:
    """The columns of a frame, or the entries of a dict of arrays, by name; None: it is neither."""
    pandas = sys.modules.get("pandas")  # who has a frame has imported it
    if pandas is not None and isinstance(given, pandas.DataFrame):
        return {str(name): given.iloc[:, place] for place, name in enumerate(given.columns)}
    if not isinstance(given, Mapping):
        return None
    return {str(name): opened_alone(f"entry {shown(name)}", value) for name, value in given.items()}


def names_of(given: Any) -> tuple[str, ...] | None:
    """Names of columns: a list of them, or the text of one, ``[a, b]``, as a shell hands it on; None for None.

    >>> names_of("[a, 'b c']"), names_of(["a", 0]), names_of("a")
    (('a', 'b c'), ('a', '0'), ('a',))
    """
    if given is None:
        return None
    listed = given.strip("[]() ").split(",") if isinstance(given, str) else given
    listed = [listed] if isinstance(listed, int) else listed
    if not isinstance(listed, Sequence) or not all(isinstance(name, str | int) for name in listed):
        raise UsageError(f"columns must be a list of names, got {shown(given)}.")
    return tuple(str(name).strip().strip("'\"") for name in listed)


def kind_found(x: Tensor) -> str:
    """The kind of some numbers.

    >>> [kind_found(torch.tensor(x)) for x in ([0.0, 1.0], [0.0, 7.0], [0.5, 1.0])]
    ['binary', 'counts', 'real']
    """
    if bool(((x == 0) | (x == 1)).all()):
        return "binary"
    whole = not x.is_floating_point() or bool((x == x.round()).all())
    return "counts" if whole and bool((x >= 0).all()) else "real"


@dataclass(frozen=True)
class Classes:
    """The names of classes 0..C-1 in their order."""

    names: tuple[Any, ...]

    @classmethod
    def found(cls, y: Any, asked: bool | None) -> Classes | None:
        """Those of y, which is text, or holds the whole numbers 0..C-1; None: y holds numbers that are no names.

        Args:
            y: of the training data.
            asked: whether y holds names, whatever it looks like; None: as said above.
        """
        values = np.asarray(y)
        if asked is False or values.ndim != 1 or isinstance(y, np.ma.MaskedArray):
            return None
        if values.dtype.kind in "OUSb" or asked:
            return cls(tuple(np.unique(_texts(values) if values.dtype.kind in "OUS" else values).tolist()))
        whole = values.dtype.kind in "iu" and len(values) and values.min() == 0 and values.max() < MOST_CLASSES
        numbers = np.unique(values) if whole else values[:0]
        return cls(tuple(numbers.tolist())) if whole and len(numbers) == numbers[-1] + 1 else None

    def numbered(self, where: str, y: Any, said: str = "the target", each: str = "class") -> Tensor:
        """The number of each name, (N,), int64.

        Raises:
            UsageError: a name is none of the training data's; ``said`` is what holds it, and ``each`` what it names.
        """
        values = np.asarray(y)
        values = _texts(values) if values.dtype.kind in "OUS" else values
        known = np.array(self.names)
        order = np.argsort(known)
        found = order[np.searchsorted(known, values, sorter=order).clip(max=len(known) - 1)]
        wrong = known[found] != values
        if np.any(wrong):
            raise UsageError(
                f"{said} of {where} is {shown(values[wrong][0].item())} in row {int(np.argmax(wrong))}, a {each} "
                f"that the training data lack, which have {cut(', '.join(map(str, self.names)))}: leave such rows out."
            )
        return torch.from_numpy(found.astype(np.int64))

    def __str__(self) -> str:
        """The kind in words."""
        if self.names in ((0, 1), (False, True)):
            return "binary"
        return f"categorical ({', '.join(map(str, self.names))})"


def check_complete(where: str, said: str, y: Any) -> None:
    """Check that a column, which is ``said`` so, has a value in every row.

    Raises:
        UsageError: it has not; the first such row is named.
    """
    missing = y.isna().to_numpy() if hasattr(y, "isna") else np.array([value is None for value in y])
    if np.any(missing):
        raise UsageError(
            f"{said} of {where} has a missing value in row {int(np.argmax(missing))}, the first of "
            f"{int(np.sum(missing))}: fill it in, or leave such rows out."
        )


def is_text(y: Any) -> bool:
    """Whether y is an array, a series or a list of text."""
    values = np.asarray(y) if hasattr(y, "__array__") and not isinstance(y, Tensor) else y
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    return kind in tuple("OUS") or (isinstance(y, list) and any(isinstance(value, str) for value in y))


def _texts(values: Any) -> Any:
    return np.array([str(value) for value in values])


def check_numbers(where: str, columns: Mapping[str, Any]) -> None:
    """Check that columns of a frame hold numbers, and have no gaps.

    Raises:
        UsageError: one does not, or has some.
    """
    for name, rows in _of_pandas(columns):
        from pandas.api.types import is_numeric_dtype

        if not is_numeric_dtype(rows.dtype):
            text = next((value for value in rows if isinstance(value, str)), rows.iloc[0] if len(rows) else "")
            raise UsageError(
                f"column {shown(name)} of {where} must hold numbers, and holds {shown(text)}: leave it out by naming "
                f"those of x, {setting('D', 'columns', ['a', 'b'])}, turn it into numbers, name it as y, "
                f"{setting('D', 'target', name)}, or of categories leave the observation, or the column's kind, out."
            )
        if bool(rows.isna().any()):
            raise UsageError(
                f"column {shown(name)} of {where} has a missing value in row {int(np.argmax(rows.isna()))}, the first "
                f"of {int(rows.isna().sum())}: fill it in, leave such rows out, or leave the column out by naming "
                f"those of x, {setting('D', 'columns', ['a', 'b'])}."
            )


def _of_pandas(columns: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    pandas = sys.modules.get("pandas")
    yield from ((name, rows) for name, rows in columns.items() if pandas and isinstance(rows, pandas.Series))
