"""Rows on disk: arrays that need not fit into memory, read a minibatch at a time.

An array is numbers of one type in row-major order from some byte of a file on, so that any row is read by its index
(:mod:`ppgen.data.disk_files` finds out where). It is read by position, not through a memory map: a row that is touched
through a map costs a page fault, which takes longer than reading it, counts what lies around it as the process's
memory, and kills the process where the file was truncated.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppgen.errors import UsageError, shown
from ppgen.machine.memory import is_pinned_for

__all__ = ["ArrayFile", "DiskRows", "Reading"]

_PIECE = 1 << 22
"""Bytes of a piece, at most, where all rows are looked at, and rows of it at most 2^16."""

_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)
"""Reads what the system has in memory, where it can tell."""

Missing = tuple[memoryview, int]
"""Memory that is still to be filled, and from which byte of the file on."""


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """Where an array lies in a file, row after row.

    Args:
        path: of the file.
        offset: of its first byte.
        shape: (n, ...).
        dtype: of the numbers, with the order of their bytes.
        size: bytes of the file.
        written: when it was last written, in ns.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int
    written: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return prod(self.shape[1:]) * self.dtype.itemsize

    def cached(self, rows: NDArray[np.int64], places: NDArray[np.int64], into: memoryview) -> list[Missing]:
        """Read these rows, (b,), to their places as far as the system has them in memory; neighbours in one go.

        Args:
            rows: numbers in the file.
            places: (b,), where each belongs, counted in rows.
            into: bytes of all the places.

        Returns:
            What the system has not.

        Raises:
            UsageError: the file is not what it was when it was opened first, or is gone.
        """
        missing: list[Missing] = []
        width = self.row_bytes
        if width:
            preadv, no_wait = os.preadv, _NO_WAIT  # a small batch is as much Python as reading
            with self._opened() as file:
                for offset, start, end in _runs(self.offset + rows * width, places * width, width):
                    try:
                        got = preadv(file, [into[start:end]], offset, no_wait)
                    except OSError as error:
                        if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
                            raise
                        got = 0
                    if got < end - start:
                        missing.append((into[start + got : end], offset + got))
        return missing

    def announce(self, missing: Sequence[Missing]) -> None:
        """Let the system fetch all that is missing at once: from a cold disk that is several times as fast."""
        if missing and hasattr(os, "posix_fadvise"):
            with self._opened() as file:
                for into, place in missing:
                    os.posix_fadvise(file, place, len(into), os.POSIX_FADV_WILLNEED)

    def fill(self, missing: Sequence[Missing]) -> None:
        """Read what is missing.

        Raises:
            UsageError: as :meth:`cached`, or the file ends before.
        """
        if missing:
            with self._opened() as file:
                for into, place in missing:
                    self._fill(file, into, place)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The file, which is what it was when it was opened first."""
        try:
            file = os.open(self.path, os.O_RDONLY)
            try:
                self._check(file)
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read any more ({error.strerror}): bring it back.") from error

    def _check(self, file: int) -> None:
        now = os.fstat(file)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.written):
            how = "it was written anew"
            if now.st_size != self.size:
                how = f"it has {now.st_size:,} bytes and had {self.size:,}"
            raise UsageError(
                f"{self.path} has changed while it was read ({how}): leave the files of a data set as they are; what "
                "was written of a run stays, and it goes on from there once the file is what it was."
            )

    def _fill(self, file: int, into: memoryview, offset: int) -> None:
        """Read so many bytes from there on; the system may give fewer at a time."""
        while into:
            got = os.preadv(file, [into], offset)
            if not got:
                self._check(file)
                raise UsageError(f"{self.path} ends before its rows do: fetch or write it again.")
            into, offset = into[got:], offset + got


def _runs(offsets: NDArray[np.int64], places: NDArray[np.int64], width: int) -> Iterator[tuple[int, int, int]]:
    """Of each run of neighbours that go to neighbouring places, where it begins in the file, and its place's bounds.

    Args:
        offsets: (b,), of each row, ``width`` bytes.
        places: (b,), in bytes.
        width: of a row.
    """
    apart = (offsets[1:] - offsets[:-1] != width) | (places[1:] - places[:-1] != width)
    first, last = (np.flatnonzero(np.concatenate(ends)) for ends in (([True], apart), (apart, [True])))
    return zip(offsets[first].tolist(), places[first].tolist(), (places[last] + width).tolist(), strict=True)


@dataclass(frozen=True, eq=False)
class Reading:
    """Rows on their way from their files, made by :meth:`DiskRows.begun`.

    Args:
        found: (B, ...), in the type that is asked for.
        read: the same rows in the files' type, and the same memory where the types are one.
        missing: what is still to be read, by file.
    """

    found: Tensor
    read: NDArray[Any]
    missing: list[tuple[ArrayFile, list[Missing]]]

    @property
    def waits(self) -> bool:
        """Whether some of it has to come from the disk."""
        return any(missing for _, missing in self.missing)

    def ended(self) -> Tensor:
        """The rows; what is missing is asked for all at once, and waited for.

        Raises:
            UsageError: as :meth:`DiskRows.read`.
        """
        for file, missing in self.missing:
            file.announce(missing)
        for file, missing in self.missing:
            file.fill(missing)
        found = self.found.numpy()
        if self.read.dtype != found.dtype:
            with np.errstate(over="ignore"):  # what is infinite in that type is refused with its row
                found[...] = self.read
        return self.found


@dataclass(frozen=True, eq=False)
class DiskRows:
    """Rows (N, ...) of files, which are tensors wherever rows are taken: by a slice, an index or a mask.

    Made by :func:`ppgen.data.on_disk`; ``as_dataset``, ``dataset_from`` and ``fit`` take it as they take a tensor. A
    model never meets this class, and the whole is in memory nowhere unless it is asked for (``rows[:]``).

    Args:
        files: whose rows these are, one after another; all of one type and shape but for their lengths.
        row_shape: of a row, with as many numbers as the files' rows have.
        dtype: the type that rows are given in; that of the files, or another that they are cast to when they are read.
        device: where rows are brought to.
        order: (N,), int64, which rows of the files these are; None: all in their order.
        passed: questions about values that all rows were asked and answered well; what is taken of the rows shares it.
    """

    files: tuple[ArrayFile, ...]
    row_shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    order: Tensor | None = None
    passed: set[Any] = field(default_factory=set)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.order is None else len(self.order)

    def __repr__(self) -> str:
        """Shape, type and files: the numbers are not read."""
        place = self.files[0].path if len(self.files) == 1 else self.files[0].path.parent
        return f"DiskRows({tuple(self.shape)}, {self.dtype}, {str(place)!r})"

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """The number of the row after the last of each file."""
        return np.cumsum([file.shape[0] for file in self.files], dtype=np.int64)

    @property
    def shape(self) -> torch.Size:
        """(N, ...)."""
        return torch.Size((len(self), *self.row_shape))

    @property
    def ndim(self) -> int:
        """Dimensions, that of rows among them."""
        return len(self.shape)

    def is_floating_point(self) -> bool:
        """Whether rows are given as floats."""
        return self.dtype.is_floating_point

    def to(self, kind: torch.device | str | torch.dtype) -> Self:
        """The same rows, brought to another device or cast to another type when they are taken."""
        if not isinstance(kind, torch.dtype):
            return dataclasses.replace(self, device=torch.device(kind))
        return self if kind == self.dtype else dataclasses.replace(self, dtype=kind, passed=set())

    def flatten(self, start_dim: int) -> Self:
        """The same rows as vectors, (N, D); ``start_dim`` is 1, as tensors have it."""
        return dataclasses.replace(self, row_shape=(prod(self.row_shape),))

    def take(self, rows: Tensor) -> Self:
        """Rows (B,), int64, in their order, still in the files."""
        return dataclasses.replace(self, order=rows if self.order is None else self.order[rows])

    def __iter__(self) -> Iterator[Tensor]:
        """Row by row."""
        return (self[index] for index in range(len(self)))

    def read(self, rows: Tensor) -> Tensor:
        """Rows (B,), int64, on the host; where they go to a GPU, in memory from which they are copied without waiting.

        Raises:
            UsageError: a file has changed since it was opened first, or is gone; it is named.
        """
        return self.begun(rows).ended()

    def begun(self, rows: Tensor) -> Reading:
        """:meth:`read` as far as it takes no waiting: of rows (B,) those that the system has in memory.

        Raises:
            UsageError: as :meth:`read`.
        """
        wanted = (rows if self.order is None else self.order[rows]).numpy()
        found = torch.empty(len(wanted), *self.row_shape, dtype=self.dtype, pin_memory=is_pinned_for(self.device))
        kind, read = self.files[0].dtype, found.numpy()
        read = read if read.dtype == kind else np.empty(read.shape, kind)
        into = read.reshape(-1).view(np.uint8).data
        of = np.searchsorted(self._ends, wanted, side="right")
        missing = []
        for index in np.flatnonzero(np.bincount(of)):
            places, file = np.flatnonzero(of == index), self.files[index]
            within = wanted[places] - (self._ends[index] - file.shape[0])
            missing.append((file, file.cached(within, places, into)))
        return Reading(found, read, missing)

    def brought(self, read: Tensor) -> Tensor:
        """What :meth:`read` gave, on the device."""
        return read.to(self.device, non_blocking=True)

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """Rows (B,), int64, as a tensor; ``dim`` is 0, as tensors have it."""
        return self.brought(self.read(rows.cpu()))

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        """A row, or rows of a slice, an index or a mask, as a tensor."""
        if isinstance(rows, slice):
            return self.index_select(0, torch.arange(*rows.indices(len(self))))
        picked = torch.as_tensor(rows).cpu()
        picked = picked.nonzero()[:, 0] if picked.dtype == torch.bool else picked
        if picked.numel() and not -len(self) <= int(picked.min()) <= int(picked.max()) < len(self):
            raise IndexError(f"rows must be within {len(self)}, got {shown(rows)}")
        found = self.index_select(0, picked.reshape(-1) % max(1, len(self)))
        return found.reshape(*picked.shape, *self.row_shape)

    def pieces(self) -> Iterator[tuple[int, Tensor]]:
        """All rows on the host, so many at a time, each with the number of its first."""
        size = max(1, prod(self.row_shape) * torch.empty(0, dtype=self.dtype).element_size())
        at_a_time = min(1 << 16, max(1, _PIECE // size))
        for start in range(0, len(self), at_a_time):
            yield start, self.read(torch.arange(start, min(start + at_a_time, len(self))))

    def mean(self, dim: int) -> Tensor:
        """Means over rows, (...), added up in float64; ``dim`` is 0."""
        in_turn = self if self.order is None else dataclasses.replace(self, order=self.order.sort().values)
        total = torch.zeros(self.row_shape, dtype=torch.float64)
        for _, piece in in_turn.pieces():
            total += piece.sum(0, dtype=torch.float64)
        return (total / max(1, len(self))).to(self.device, self.dtype)
