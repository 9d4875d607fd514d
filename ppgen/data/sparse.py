"""Rows that are mostly zero: kept in CSR form on the device, made dense a minibatch at a time.

torch's own CSR tensors give no rows: neither slices nor selections of them by an index are implemented (2.13).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppgen.errors import UsageError

__all__ = ["SparseRows", "check_matrix", "is_sparse", "native"]

SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Types in which torch keeps numbers and makes no dense rows of them."""


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A matrix (N, D) in compressed sparse row form, of which rows are read as dense tensors.

    Row i has the numbers ``values[indptr[i]:indptr[i + 1]]`` in the columns that stand at the same places of
    ``indices``; the columns of a row differ, and all else is zero. Slices and selections of rows are dense tensors
    (B, D), made on the device: a model never meets this class, and the whole matrix is dense nowhere unless it is asked
    for (``rows[:]``).

    Args:
        indptr: (N + 1,), int64, ascending from 0 to the number of entries.
        indices: (entries,), int64, columns 0..D-1.
        values: (entries,).
        num_columns: D.

    Raises:
        UsageError: the three do not describe such a matrix.

    >>> x = SparseRows(torch.tensor([0, 1, 3]), torch.tensor([2, 0, 1]), torch.tensor([5.0, 1.0, 2.0]), 3)
    >>> x.index_select(0, torch.tensor([1, 0]))
    tensor([[1., 2., 0.],
            [0., 0., 5.]])
    """

    indptr: Tensor
    indices: Tensor
    values: Tensor
    num_columns: int

    def __post_init__(self) -> None:
        indptr, indices, values = self.indptr, self.indices, self.values
        if indptr.ndim != 1 or not len(indptr) or indices.ndim != 1 or indices.shape != values.shape:
            shapes = ", ".join(str(tuple(part.shape)) for part in (indptr, indices, values))
            raise UsageError(f"indptr, indices and values must have shapes (N + 1,), (n,) and (n,), got {shapes}.")
        ends = int(indptr[0]), int(indptr[-1])
        if ends != (0, len(indices)) or bool((indptr.diff() < 0).any()):
            raise UsageError(f"indptr must ascend from 0 to {len(indices)}, the number of entries, got {ends}.")
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < self.num_columns:
            found = f"{int(indices.min())}..{int(indices.max())}"
            raise UsageError(f"indices must be columns 0..{self.num_columns - 1}, got {found}.")

    @classmethod
    def of(cls, matrix: Any, *, where: str = "x", keep_type: bool = False) -> Self:
        """The same numbers as a sparse matrix of SciPy's, a sparse tensor or a dense one.

        Entries of one place are added up, in float64 whatever their type, so that no sum wraps around. They are in
        torch's default type, unless the matrix's own is to be kept (int64 for uint16, uint32 and uint64).

        Args:
            matrix: (N, D).
            where: what it is, for errors.
            keep_type: whether to keep the matrix's own type.

        Raises:
            UsageError: it is no matrix of numbers, or holds whole numbers that the type that is kept does not.
        """
        from scipy.sparse import coo_matrix

        if isinstance(matrix, cls):
            return matrix
        kind, (row, column), values = _entries_of(where, matrix)
        summed = coo_matrix((values, (row, column)), shape=tuple(matrix.shape)).tocsr()
        summed.eliminate_zeros()
        indptr, indices = (torch.from_numpy(part.astype(np.int64)) for part in (summed.indptr, summed.indices))
        exact = cls(indptr, indices, torch.from_numpy(summed.data), summed.shape[1])
        own = torch.int64 if kind in UNSIGNED else kind
        return exact._in_type(where, own if keep_type else torch.get_default_dtype())

    def _in_type(self, where: str, kind: torch.dtype) -> Self:
        """The rows of float64 numbers in another type, which must hold them if it is one of whole numbers."""
        kept = self.values.to(kind)
        if not kind.is_floating_point:
            changed = (kept.double() != self.values) | (self.values.abs() >= 2**53)
            if bool(changed.any()):
                first = int(changed.nonzero()[0])
                row, column = self.place(first)
                raise UsageError(
                    f"{where} holds {self.values[first].item():.17g} in row {row}, column {column}, where entries of "
                    f"one place are added up, and {kind} (exact below 2^53) has no such number: give floats."
                )
        return dataclasses.replace(self, values=kept)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def shape(self) -> torch.Size:
        """(N, D)."""
        return torch.Size((len(self), self.num_columns))

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @property
    def dtype(self) -> torch.dtype:
        """Of the values."""
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        """Where the rows are kept, and made dense."""
        return self.values.device

    def to(self, device: torch.device | str) -> Self:
        """The same rows on ``device``."""
        moved = {name: getattr(self, name).to(device) for name in ("indptr", "indices", "values")}
        return dataclasses.replace(self, **moved)

    def is_floating_point(self) -> bool:
        """Whether the values are."""
        return self.values.is_floating_point()

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """Rows (B,), int64, as a dense tensor (B, D); ``dim`` is 0, as tensors have it."""
        row, entry, _ = self._entries(rows)
        dense = self.values.new_zeros(len(rows), self.num_columns)
        dense[row, self.indices[entry]] = self.values[entry]
        return dense

    def take(self, rows: Tensor) -> Self:
        """Rows (B,), int64, in their order, still sparse."""
        _, entry, indptr = self._entries(rows)
        return dataclasses.replace(self, indptr=indptr, indices=self.indices[entry], values=self.values[entry])

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        """A row (D,), or rows (B, D) of a slice, an index or a mask, as a dense tensor."""
        picked = torch.arange(len(self), device=self.device)[rows]
        return self.index_select(0, picked.reshape(-1)).reshape(*picked.shape, self.num_columns)

    def sum(self, dim: int) -> Tensor:
        """Sums over rows, (D,) for ``dim`` 0, or over columns, (N,) for ``dim`` 1.

        They are int64 of whole-number types, float32 of shorter floats, and do not wrap around or overflow.
        """
        row = torch.arange(len(self), device=self.device).repeat_interleave(self.indptr.diff())
        groups = self.indices if dim == 0 else row
        wide = self.values.double() if self.is_floating_point() else self.values.long()
        total = wide.new_zeros(self.shape[1 - dim]).index_add_(0, groups, wide)
        return total if self.dtype == torch.float64 or not self.is_floating_point() else total.float()

    def mean(self, dim: int) -> Tensor:
        """Means over rows, (D,) for ``dim`` 0, or over columns, (N,) for ``dim`` 1."""
        return self.sum(dim) / self.shape[dim]

    def place(self, entry: int) -> tuple[int, int]:
        """Row and column of an entry of ``values``."""
        return int(torch.searchsorted(self.indptr, entry, right=True)) - 1, int(self.indices[entry])

    def _entries(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of all entries of ``rows``: the place of each one's row in ``rows``, its own place, and where rows begin."""
        first, sizes = self.indptr[rows], self.indptr.diff()[rows]  # (B,)
        indptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        row = torch.arange(len(rows), device=self.device).repeat_interleave(sizes)  # (entries,)
        return row, torch.arange(len(row), device=self.device) + (first - indptr[:-1])[row], indptr


def is_sparse(matrix: Any) -> bool:
    """Whether ``matrix`` is sparse rows, or a sparse matrix of SciPy's or torch's, of which they can be made."""
    of_torch = isinstance(matrix, Tensor) and matrix.layout in SPARSE
    return isinstance(matrix, SparseRows) or of_torch or hasattr(matrix, "tocsr")


def _entries_of(where: str, matrix: Any) -> tuple[torch.dtype, tuple[Any, Any], NDArray[np.float64]]:
    """The type of a matrix's numbers, rows and columns of its entries, and the numbers in float64."""
    of_torch = isinstance(matrix, Tensor)
    numbers = not matrix.is_complex() if of_torch else matrix.dtype.kind in "biuf" and matrix.dtype.itemsize <= 8
    if matrix.ndim != 2 or not numbers:
        came = f"shape {tuple(matrix.shape)} of {matrix.dtype}"
        raise UsageError(f"{where} must be a matrix (N, D) of numbers where it is sparse, got {came}.")
    if of_torch:
        entries = matrix.detach().cpu().double().to_sparse_coo().coalesce()
        return matrix.dtype, tuple(entries.indices().numpy()), entries.values().numpy()
    try:
        check_matrix(matrix)
        entries = matrix.tocoo()
    except ValueError as error:
        raise UsageError(f"{where} is no sparse matrix that SciPy can read ({error}): make it anew.") from error
    kind = torch.from_numpy(np.empty(0, native(matrix.dtype))).dtype
    return kind, (entries.row, entries.col), entries.data.astype(np.float64)


def native(kind: np.dtype[Any]) -> np.dtype[Any]:
    """The same type in this machine's order of bytes, under the one name that torch knows (int64, not longlong)."""
    return np.dtype(kind.newbyteorder("=").str)


def check_matrix(matrix: Any) -> None:
    """Raise ValueError where a sparse matrix of SciPy's has indices out of range, which its compiled code trusts."""
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)
