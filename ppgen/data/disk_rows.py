"""Rows on disk: arrays that need not fit into memory, read a minibatch at a time.

A ``.npy`` file, a folder of such shards, an array of an uncompressed ``.npz`` archive and a ``np.memmap`` are the same
thing here: numbers of one type in row-major order from some byte of a file on, so that any row is read by its index.
It is read by position, not through a memory map: a row that is touched through a map costs a page fault, which takes
longer than reading it, counts what lies around it as the process's memory, and kills the process where the file was
truncated.
"""

from __future__ import annotations

import dataclasses
import errno
import mmap
import os
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import IO, Any, Self
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppgen.data.reading import reading
from ppgen.data.sparse import native
from ppgen.errors import UsageError, shown

__all__ = ["ArrayFile", "DiskRows", "on_disk", "rows_of_memmap"]

_PIECE = 1 << 22
"""Bytes of a piece, at most, where all rows are looked at, and rows of it at most 2^16."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of a member of a zip archive: signature, and the lengths of the name and of the extra field that follow."""

_NUMBERED = re.compile(r"(.*?)(\d+)(?:-of-(\d+))?")
"""The stem of a shard's name: what it is called, its number, and how many there are, if it says so."""


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

    def cached(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], list[Missing]]:
        """The rows, (B, ...), as far as the system has them in memory, and what it has not; neighbours in one go.

        Raises:
            UsageError: the file is not what it was when it was opened first, or is gone.
        """
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        missing: list[Missing] = []
        if found.nbytes:
            into, width, start = found.reshape(-1).view(np.uint8).data, self.row_bytes, 0
            with self._opened() as file:
                for first, num in _runs(rows):
                    end = start + num * width
                    try:
                        got = os.preadv(file, [into[start:end]], self.offset + first * width, _NO_WAIT)
                    except OSError as error:
                        if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
                            raise
                        got = 0
                    if got < end - start:
                        missing.append((into[start + got : end], self.offset + first * width + got))
                    start = end
        return found, missing

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


def _runs(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The first row of each run of neighbours, and how many they are."""
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    return list(zip(rows[starts].tolist(), np.diff(starts, append=len(rows)).tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class DiskRows:
    """Rows (N, ...) of files, which are tensors wherever rows are taken: by a slice, an index or a mask.

    Made by :func:`on_disk`; ``as_dataset``, ``dataset_from`` and ``fit`` take it as they take a tensor. A model never
    meets this class, and the whole is in memory nowhere unless it is asked for (``rows[:]``).

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
        wanted = (rows if self.order is None else self.order[rows]).numpy()
        pinned = self.device.type == "cuda" and torch.cuda.is_available()
        found = torch.empty(len(wanted), *self.row_shape, dtype=self.dtype, pin_memory=pinned)
        into = found.numpy().reshape(len(wanted), *self.files[0].shape[1:])
        by_file = [(file, places, *file.cached(within)) for file, within, places in self._by_file(wanted)]
        for file, _, _, missing in by_file:
            file.announce(missing)
        with np.errstate(over="ignore"):  # what is infinite in that type is refused with its row
            for file, places, rows_of_file, missing in by_file:
                file.fill(missing)
                into[places] = rows_of_file
        return found

    def _by_file(self, rows: NDArray[np.int64]) -> list[tuple[ArrayFile, NDArray[np.int64], NDArray[np.int64]]]:
        """For each file that some of the rows, (B,), are in: their numbers in it, and their places among the B."""
        of = np.searchsorted(self._ends, rows, side="right")
        found = []
        for index in np.unique(of):
            places, file = np.flatnonzero(of == index), self.files[index]
            found.append((file, rows[places] - (self._ends[index] - file.shape[0]), places))
        return found

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


def on_disk(path: str | Path) -> DiskRows | tuple[DiskRows, ...]:
    """Rows of a file that stay in it until they are needed.

    Args:
        path: of a ``.npy`` file; of a folder of them, whose shards are read in the order of their numbers, which are
            consecutive, ``x-00000.npy``, ``x-00001.npy``, ... or ``x-00000-of-00016.npy``, ...; or of a ``.npz``
            archive that is not compressed (``np.savez``), whose arrays are a tuple in the order they were written in.

    Raises:
        UsageError: there is no such file; it is truncated, compressed, or holds anything but rows of numbers; shards
            are missing, or differ in shape or type; the file is named. Nothing is unpickled.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/x.npy", np.arange(6.0).reshape(3, 2))
    ...     rows = on_disk(f"{folder}/x.npy")
    ...     type(rows).__name__, len(rows), rows[torch.tensor([2, 0])].tolist()
    ('DiskRows', 3, [[4.0, 5.0], [0.0, 1.0]])
    """
    place = Path(path)
    if os.path.isdir(place):  # pathlib raises for names that are too long
        return _rows_of([_of_npy(file) for file in _shards(place)])
    if place.suffix not in (".npy", ".npz") or not os.path.isfile(place):
        raise UsageError(
            f"expected the path of a .npy or .npz file or of a folder of .npy files, got {shown(str(path))}: correct "
            "it."
        )
    return _rows_of([_of_npy(place)]) if place.suffix == ".npy" else _of_npz(place)


def rows_of_memmap(where: str, array: np.memmap[Any, Any]) -> DiskRows | None:
    """The rows of a ``np.memmap``, or of a part of one; None: they are not those of a file that has a name.

    Raises:
        UsageError: it holds anything but whole rows of numbers, one after another.
    """
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    name = getattr(root, "filename", None)
    if name is None or not isinstance(root.base, mmap.mmap) or root.mode == "c":  # numbers that no file has
        return None
    _check_kind(where, array.dtype, array.shape)
    if not array.flags.c_contiguous:
        raise UsageError(
            f"{where} is a part of a np.memmap whose numbers do not lie one after another: give whole rows, x[a:b]."
        )
    root.flush()
    start = root.offset + array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    return _rows_of([_placed(Path(name), start, array.shape, array.dtype)])


def _rows_of(files: list[ArrayFile]) -> DiskRows:
    first = files[0]
    for file in files[1:]:
        expected, came = (f"(n, {', '.join(map(str, f.shape[1:]))}) of {f.dtype}" for f in (first, file))
        if expected != came:
            raise UsageError(
                f"the shards of {first.path.parent} must have rows of one shape and type, and {first.path.name} is "
                f"{expected}, {file.path.name} is {came}: write them alike."
            )
    dtype = torch.from_numpy(np.empty(0, native(first.dtype))).dtype
    return DiskRows(tuple(files), first.shape[1:], dtype, torch.device("cpu"))


def _placed(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ArrayFile:
    state = os.stat(path)
    return ArrayFile(path, offset, shape, dtype, state.st_size, state.st_mtime_ns)


def _shards(folder: Path) -> list[Path]:
    """The ``.npy`` files of a folder in order, none of which is missing, as far as their names tell."""
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise UsageError(f"{folder} must hold .npy files, the shards of an array, and has none: name another folder.")
    found = [(file, _NUMBERED.fullmatch(file.stem)) for file in files]
    named = {match[1]: match[3] for _, match in found if match is not None}
    if None in (match for _, match in found) or len(named) != 1:
        odd = next((file.name for file, match in found if match is None), files[-1].name)
        raise UsageError(
            f"the .npy files of {folder} must have one name and a number each, x-00000.npy, x-00001.npy, ..., got "
            f"{files[0].name} and {odd}: rename them, or keep each array in a folder of its own."
        )
    numbers = sorted((int(match[2]), file) for file, match in found if match is not None)
    first, (total,) = min(numbers[0][0], 1), named.values()
    for expected, (number, file) in enumerate(numbers, start=first):
        if number != expected:
            raise UsageError(
                f"{folder} must hold shards of consecutive numbers, and number {expected} is not there, before "
                f"{file.name}: bring it back, or number the others anew."
            )
    if total is not None and len(numbers) != int(total):
        raise UsageError(
            f"{folder} must hold {int(total)} shards, as {files[0].name} says, and has {len(numbers)}: bring back "
            f"those after {numbers[-1][1].name}."
        )
    return [file for _, file in numbers]


def _of_npy(path: Path) -> ArrayFile:
    with reading(path, "a .npy file of numbers"), path.open("rb") as file:
        return _array_at(path, str(path), file, 0, os.fstat(file.fileno()).st_size)


def _of_npz(path: Path) -> tuple[DiskRows, ...]:
    with reading(path, "a NumPy .npz archive"), path.open("rb") as file, ZipFile(file) as archive:
        members = archive.infolist()
        if not members:
            raise ValueError("it is empty")
        if "format.npy" in archive.namelist():
            raise UsageError(
                f"{path} is a sparse matrix of SciPy's, which is read as a whole: give its path to as_dataset."
            )
        return tuple(_rows_of([_of_member(path, file, member)]) for member in members)


def _of_member(path: Path, file: IO[bytes], member: ZipInfo) -> ArrayFile:
    where = f"{Path(member.filename).stem} in {path}"
    if member.compress_type != ZIP_STORED:
        raise UsageError(
            f"{where} is compressed, so that no row can be read alone: write it with np.savez, or each array "
            "with np.save."
        )
    file.seek(member.header_offset)
    signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04" or member.flag_bits & 1:
        raise ValueError("its directory and its members do not go together, or it is encrypted")
    start = member.header_offset + _LOCAL_HEADER.size + name + extra
    return _array_at(path, where, file, start, member.file_size)


def _array_at(path: Path, where: str, file: IO[bytes], start: int, size: int) -> ArrayFile:
    """The array in NumPy's format that begins at this byte, and ends ``size`` bytes after it."""
    file.seek(start)
    version = np.lib.format.read_magic(file)
    read: Any = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, by_columns, dtype = read(file)
    _check_kind(where, dtype, shape)
    if by_columns and len(shape) > 1:
        raise UsageError(
            f"{where} is stored by columns, so that a row is spread over the whole file: write it by rows, "
            "np.save(path, np.ascontiguousarray(x))."
        )
    missing = prod(shape) * dtype.itemsize - (start + size - file.tell())
    if missing > 0:
        raise UsageError(
            f"{where} is truncated: its header says {shape} of {dtype}, and {missing:,} bytes of that are missing; "
            "fetch or write it again."
        )
    return _placed(path, file.tell(), shape, dtype)


def _check_kind(where: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    try:
        torch.from_numpy(np.empty(0, native(dtype)))
    except TypeError as error:  # of text, of objects, of numbers that torch lacks
        raise UsageError(f"{where} must be an array of numbers, got {dtype}: write it as numbers.") from error
    if not shape:
        raise UsageError(f"{where} must be an array with one row a datum, got a single number.")
