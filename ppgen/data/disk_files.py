"""Where arrays lie on disk: in ``.npy`` files, folders of such shards, uncompressed ``.npz`` archives, a ``np.memmap``.

All are the same thing to :class:`ppgen.data.disk_rows.DiskRows`: numbers of one type in row-major order from some byte
of a file on. What a file holds is read from its header alone, and whatever is no such array is refused by the file's
name.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from math import prod
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import torch

from ppgen.data.disk_rows import ArrayFile, DiskRows
from ppgen.data.reading import reading
from ppgen.data.sparse import native
from ppgen.errors import UsageError, shown

__all__ = ["on_disk", "rows_of_memmap"]

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of a member of a zip archive: signature, and the lengths of the name and of the extra field that follow."""

_NUMBERED = re.compile(r"(.*?)(\d+)(?:-of-(\d+))?")
"""The stem of a shard's name: what it is called, its number, and how many there are, if it says so."""


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
