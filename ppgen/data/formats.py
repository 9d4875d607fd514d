"""Readers of file formats. Nothing is unpickled; a broken file is a UsageError that names it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppgen.errors import UsageError

__all__ = [
    "check_rows",
    "read_amat",
    "read_arrays",
    "read_counts",
    "read_csv",
    "read_idx",
    "read_lda_c",
    "read_mat",
    "read_npz",
    "read_vocabulary",
    "unpack_bits",
    "upright",
]


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises on a broken file into one sentence."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # on damaged files the libraries raise anything, UnboundLocalError included
        raise UsageError(
            f"{path} must be {kind}, but it cannot be read ({type(error).__name__}: {error}): "
            "it is damaged or another file; fetch it again."
        ) from error


def read_npz(path: Path, names: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """The arrays ``names`` of a NumPy archive, read with ``allow_pickle=False``.

    Raises:
        UsageError: the file cannot be read, or an array is missing.
    """
    with (
        _reading(path, "a NumPy .npz archive"),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        missing = [name for name in names if name not in archive.files]
        if missing:
            has = ", ".join(archive.files) or "nothing"
            raise UsageError(
                f"{path} must hold the arrays {', '.join(names)}: {', '.join(missing)} missing, it has {has}."
            )
        return tuple(archive[name] for name in names)


def read_arrays(path: Path) -> tuple[NDArray[Any], ...]:
    """All arrays of a NumPy archive, in the order they were written in.

    Raises:
        UsageError: the file cannot be read, or has none.
    """
    with _reading(path, "a NumPy .npz archive"), np.load(path, allow_pickle=False) as archive:
        if not archive.files:
            raise ValueError("it is empty")
        return tuple(archive[name] for name in archive.files)


def read_csv(path: Path) -> Any:
    """The columns of a text file of values separated by commas, a pandas frame.

    The first line names the columns, unless it holds numbers alone.

    Raises:
        UsageError: the file cannot be read.
    """
    import pandas

    with _reading(path, "a text file of columns separated by commas"):
        with path.open() as file:
            first = file.readline().split(",")
        return pandas.read_csv(path, header=None if all(map(_is_number, first)) else "infer")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_mat(path: Path, names: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """The matrices ``names`` of a MATLAB 5 file.

    Raises:
        UsageError: the file cannot be read, or a matrix is missing.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with _reading(path, "a MATLAB .mat file"):
        try:
            content = loadmat(path, variable_names=list(names))
        except MatReadError as error:
            raise ValueError(str(error)) from error
        missing = [name for name in names if name not in content]
        if missing:
            raise UsageError(f"{path} must hold the matrices {', '.join(names)}: {', '.join(missing)} missing.")
        return tuple(np.asarray(content[name]) for name in names)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The unsigned bytes of an IDX file (MNIST's format), compressed by gzip or not.

    A big-endian header, two zero bytes, the type (8: unsigned byte), the number of dimensions, and each
    dimension in four bytes, then the entries in row-major order.

    Raises:
        UsageError: the file cannot be read, or holds more or fewer bytes than its header says.
    """
    with _reading(path, "an IDX file of unsigned bytes"):
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        if len(content) < 4 or content[:3] != b"\x00\x00\x08":
            raise ValueError(f"its header is {content[:4].hex() or 'empty'}, expected 000008 and the dimensions")
        shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=content[3], offset=4))
        start = 4 + 4 * len(shape)
        if len(content) - start != prod(shape):
            raise ValueError(f"its header says {shape}, but {len(content) - start} bytes follow")
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_amat(path: Path, columns: int) -> NDArray[np.uint8]:
    """A text file of 0 and 1 separated by blanks, ``columns`` a line (Larochelle's .amat), as (N, columns).

    Raises:
        UsageError: the file cannot be read, holds another character, or does not end after a whole row.
    """
    with _reading(path, f"a text file of 0 and 1, {columns} a line"):
        text = np.frombuffer(path.read_bytes(), np.uint8)
        digits = text[(text != ord(" ")) & (text != ord("\n")) & (text != ord("\r"))] - np.uint8(ord("0"))
        if digits.size == 0 or digits.max() > 1:
            raise ValueError("it is empty or holds other characters than 0 and 1")
        if digits.size % columns:
            raise ValueError(f"its {digits.size} numbers are no whole number of lines")
        rows: NDArray[np.uint8] = digits.reshape(-1, columns)
        return rows


def read_counts(path: Path, split: str = "", columns: int | None = None) -> Any:
    """Word counts of a NumPy archive, SciPy's ``csr_matrix`` of shape (documents, columns).

    Document i has the words ``indices[indptr[i]:indptr[i + 1]]``, each as often as ``counts`` says at the same place;
    with a ``split`` the arrays are called ``{split}_indptr``, ``{split}_indices`` and ``{split}_counts``.

    Args:
        path: of the archive.
        split: whose counts, in an archive that holds several.
        columns: the size of the vocabulary; None: one more than the largest index.

    Raises:
        UsageError: the file cannot be read, an array is missing, or the arrays are no such matrix.
    """
    from scipy.sparse import csr_matrix

    names = [f"{split}_{name}" if split else name for name in ("indptr", "indices", "counts")]
    indptr, indices, counts = read_npz(path, names)
    with _reading(path, "word counts in compressed sparse rows"):
        size = int(indices.max()) + 1 if columns is None else columns
        matrix = csr_matrix((counts, indices.astype(np.int64), indptr.astype(np.int64)), shape=(len(indptr) - 1, size))
        matrix.check_format(full_check=True)
        return matrix


def read_lda_c(path: Path, columns: int | None = None) -> Any:
    """Word counts of a text file of lda-c (Blei), SciPy's ``csr_matrix`` of shape (documents, columns).

    A line is a document: the number of its different words, then ``word:count`` for each, words counted from 0.

    Args:
        path: of the file.
        columns: the size of the vocabulary; None: one more than the largest word.

    Raises:
        UsageError: the file cannot be read, or has a word beyond the vocabulary.
    """
    from sklearn.datasets import load_svmlight_file

    with _reading(path, "word counts in lda-c's format"):
        return load_svmlight_file(str(path), n_features=columns, zero_based=True)[0]


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """The words of a text file, one a line.

    Raises:
        UsageError: the file cannot be read, or has no words.
    """
    with _reading(path, "a text file of words, one a line"):
        words = tuple(path.read_text().splitlines())
        if not words:
            raise ValueError("it is empty")
        return words


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


def check_rows(path: Path, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """``array`` itself, where it has the shape that the published file has.

    Raises:
        UsageError: it has not.
    """
    if array.shape != shape:
        raise UsageError(f"{path} must hold an array of shape {shape}, got {array.shape}: fetch it again.")
    return array


def upright(x: NDArray[Any]) -> NDArray[Any]:
    """(N, 784) pictures of 28 x 28 pixels in MATLAB's column-major order to row-major ones."""
    return x.reshape(len(x), 28, 28).transpose(0, 2, 1).reshape(len(x), 784)
