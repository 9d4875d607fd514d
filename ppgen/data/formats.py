"""Readers of file formats. Nothing is unpickled; a broken file is a UsageError that names it.

What is compressed is unpacked no further than :data:`ppgen.data.reading.MOST_BYTES`, whatever it says of itself.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from ppgen.data.reading import check_size, reading
from ppgen.data.sparse import check_matrix
from ppgen.errors import UsageError, shown

__all__ = [
    "check_kind",
    "check_numbers",
    "check_rows",
    "names_in",
    "read_amat",
    "read_arrays",
    "read_csv",
    "read_idx",
    "read_npz",
    "read_scipy",
    "unpack_bits",
    "upright",
]


@contextmanager
def _archive(path: Path) -> Iterator[Any]:
    """A NumPy archive, once its directory says that it unpacks to no more than is allowed; nothing is unpickled."""
    with reading(path, "a NumPy .npz archive"), path.open("rb") as file:
        with ZipFile(file) as directory:
            check_size(sum(entry.file_size for entry in directory.infolist()))
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            yield archive


def read_npz(path: Path, names: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """The arrays ``names`` of a NumPy archive, read with ``allow_pickle=False``.

    Raises:
        UsageError: the file cannot be read, unpacks to too much, or an array is missing or none of numbers.
    """
    with _archive(path) as archive:
        missing = [name for name in names if name not in archive.files]
        if missing:
            has = ", ".join(archive.files) or "nothing"
            raise UsageError(
                f"{path} must hold the arrays {', '.join(names)}: {', '.join(missing)} missing, it has {has}."
            )
        return tuple(check_kind(path, name, archive[name]) for name in names)


def read_arrays(path: Path) -> Any:
    """All arrays of a NumPy archive by name, in the order they were written in; or the matrix of :func:`read_scipy`.

    Raises:
        UsageError: the file cannot be read, unpacks to too much, has no arrays, or one that is none of numbers.
    """
    matrix = read_scipy(path)
    if matrix is not None:
        return matrix
    with _archive(path) as archive:
        if not archive.files:
            raise ValueError("it is empty")
        return {name: check_kind(path, name, archive[name]) for name in archive.files}


def names_in(path: Path) -> list[str]:
    """The names of a NumPy archive's arrays.

    Raises:
        UsageError: the file cannot be read, or unpacks to too much.
    """
    with _archive(path) as archive:
        return list(archive.files)


def read_scipy(path: Path) -> Any:
    """The sparse matrix that ``scipy.sparse.save_npz`` wrote, in any of its formats; None: it is another archive.

    Raises:
        UsageError: the file cannot be read, or unpacks to too much; the arrays are no such matrix.
    """
    from scipy.sparse import load_npz

    with _archive(path) as archive:
        if "format" not in archive.files:
            return None
        check_size(8 * int(archive["shape"].max()))  # a place for each row, in other formats for each column
        check_kind(path, "data", archive["data"])
    with reading(path, "a sparse matrix of SciPy's"):
        matrix = load_npz(path)
        check_matrix(matrix)
        return matrix


def read_csv(path: Path) -> Any:
    """The columns of a text file of values separated by commas, a pandas frame.

    The first line names the columns, unless it holds numbers alone.

    Raises:
        UsageError: the file cannot be read.
    """
    import pandas

    with reading(path, "a text file of columns separated by commas"):
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline().split(",")
        frame = pandas.read_csv(path, header=None if all(map(_is_number, first)) else "infer")
        if not isinstance(frame.index, pandas.RangeIndex):  # pandas takes what has no name for the names of rows
            raise ValueError(f"its first line names {len(first)} columns, and other lines have more")
        return frame


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The unsigned bytes of an IDX file (MNIST's format), compressed by gzip or not.

    A big-endian header, two zero bytes, the type (8: unsigned byte), the number of dimensions, and each
    dimension in four bytes, then the entries in row-major order.

    Raises:
        UsageError: the file cannot be read, holds more or fewer bytes than its header says, or too many.
    """
    with reading(path, "an IDX file of unsigned bytes"):
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != b"\x00\x00\x08":
                raise ValueError(f"its header is {magic.hex() or 'empty'}, expected 000008 and the dimensions")
            shape = tuple(int(n) for n in np.frombuffer(file.read(4 * magic[3]), ">u4", count=magic[3]))
            check_size(prod(shape))
            content = file.read(prod(shape) + 1)
        if len(content) != prod(shape):
            came = "more" if len(content) > prod(shape) else f"{len(content)} bytes"
            raise ValueError(f"its header says {shape}, but {came} follow")
        return np.frombuffer(content, np.uint8).reshape(shape)


def read_amat(path: Path, columns: int) -> NDArray[np.uint8]:
    """A text file of 0 and 1 separated by blanks, ``columns`` a line (Larochelle's .amat), as (N, columns).

    Raises:
        UsageError: the file cannot be read, holds another character, or does not end after a whole row.
    """
    with reading(path, f"a text file of 0 and 1, {columns} a line"):
        text = np.frombuffer(path.read_bytes(), np.uint8)
        digits = text[(text != ord(" ")) & (text != ord("\n")) & (text != ord("\r"))] - np.uint8(ord("0"))
        if digits.size == 0 or digits.max() > 1:
            raise ValueError("it is empty or holds other characters than 0 and 1")
        if digits.size % columns:
            raise ValueError(f"its {digits.size} numbers are no whole number of lines")
        rows: NDArray[np.uint8] = digits.reshape(-1, columns)
        return rows


def unpack_bits(path: Path, packed: NDArray[Any], columns: int) -> NDArray[np.uint8]:
    """(N, ceil(columns / 8)) bytes to (N, columns) zeros and ones, most significant bit first.

    Raises:
        UsageError: the array is not of bytes, or not that wide.
    """
    if packed.ndim != 2 or packed.dtype != np.uint8 or packed.shape[1] != -(-columns // 8):
        raise UsageError(
            f"{path} must hold bits packed in bytes of shape (N, {-(-columns // 8)}), "
            f"got {packed.shape} of {packed.dtype}: fetch it again."
        )
    return np.unpackbits(packed, axis=1, count=columns)


def check_kind(path: Path, name: str, array: Any) -> NDArray[Any]:
    """``array`` itself, where it is one of numbers.

    Raises:
        UsageError: it is of text, of dates, or no array.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
        came = getattr(array, "dtype", type(array).__name__)  # what is no array in an archive comes as its bytes
        raise UsageError(
            f"{path} must hold arrays of numbers, and {shown(name)} is of {came}: leave it out, or turn it into "
            "numbers."
        )
    return array


def check_rows(path: Path, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """``array`` itself, where it has the shape that the published file has.

    Raises:
        UsageError: it has not.
    """
    if array.shape != shape:
        raise UsageError(f"{path} must hold an array of shape {shape}, got {array.shape}: fetch it again.")
    return array


def check_numbers(path: Path, array: NDArray[Any], most: int, *, whole: bool = True) -> NDArray[Any]:
    """``array`` itself, where it holds numbers from 0 to ``most``, all ``whole`` or not.

    Raises:
        UsageError: it has another, or NaN.
    """
    wrong = ~((array >= 0) & (array <= most))
    if whole:
        wrong |= array != np.round(array)
    if wrong.any():
        kind = "whole numbers" if whole else "numbers"
        raise UsageError(f"{path} must hold {kind} from 0 to {most}, got {array[wrong][0]:g}: fetch it again.")
    return array


def upright(x: NDArray[Any]) -> NDArray[Any]:
    """(N, 784) pictures of 28 x 28 pixels in MATLAB's column-major order to row-major ones."""
    return x.reshape(len(x), 28, 28).transpose(0, 2, 1).reshape(len(x), 784)
