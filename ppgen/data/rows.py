"""What a split is made of: tensors, sparse rows, rows of files; and what is asked of all three alike."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from torch import Tensor

from ppgen.data.disk_rows import DiskRows
from ppgen.data.sparse import SparseRows

__all__ = ["Rows", "pieces", "place_of", "stored", "take", "to_ask"]

Rows = Tensor | SparseRows | DiskRows
"""All have a length, a shape, a type, a device, and rows that are dense tensors."""


def stored(x: Tensor | SparseRows) -> tuple[Tensor, ...]:
    """The tensors that ``x`` is kept as, its numbers last."""
    return (x.indptr, x.indices, x.values) if isinstance(x, SparseRows) else (x,)


def place_of(x: Rows, index: tuple[int, ...]) -> tuple[int, ...]:
    """Where in ``x`` the number at ``index`` of ``stored(x)[-1]`` stands: its row, and its column if there is one."""
    return x.place(*index) if isinstance(x, SparseRows) else index


def take(x: Rows, rows: Tensor) -> Rows:
    """Rows (B,), int64, of ``x`` in their order, as dense, sparse or on disk as ``x`` is."""
    return x[rows] if isinstance(x, Tensor) else x.take(rows)


def pieces(x: Tensor | DiskRows) -> Iterator[tuple[int, Tensor]]:
    """All rows, each piece with the number of its first: what is in memory whole, what is on disk some at a time."""
    yield from x.pieces() if isinstance(x, DiskRows) else [(0, x)]


def to_ask(x: Rows, question: Hashable) -> Iterator[tuple[int, Tensor | SparseRows]]:
    """The pieces of ``x``; of what is on disk none, once all of it has been asked the question without an error."""
    if not isinstance(x, DiskRows):
        yield 0, x
    elif question not in x.passed:
        yield from x.pieces()
        x.passed.add(question)
