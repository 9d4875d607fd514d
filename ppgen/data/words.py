"""Readers of word counts and of the words that they count."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

import numpy as np

from ppgen.data.formats import check_numbers, read_npz, read_scipy
from ppgen.data.reading import reading
from ppgen.errors import UsageError

__all__ = ["MOST_WORDS", "read_counts", "read_lda_c", "read_vocabulary"]

MOST_WORDS = 10_000_000
"""Words are counted from 0 up to fewer than so many, where no vocabulary says how many there are."""

LINE = re.compile(rb"\s*\d{1,15}(?:\s+\d{1,15}:\d{1,15})*\s*")
ENTRY = re.compile(rb"\d{1,15}:\d{1,15}")


def read_counts(path: Path, split: str = "", columns: int | None = None) -> Any:
    """Word counts of a NumPy archive, SciPy's ``csr_matrix`` of shape (documents, columns).

    Document i has the words ``indices[indptr[i]:indptr[i + 1]]``, each as often as ``counts`` says at the same place;
    with a ``split`` the arrays are called ``{split}_indptr``, ``{split}_indices`` and ``{split}_counts``. What
    ``scipy.sparse.save_npz`` wrote is read as well, in any of its formats.

    Args:
        path: of the archive.
        split: whose counts, in an archive that holds several.
        columns: the size of the vocabulary; None: the matrix's own, or one more than the largest index.

    Raises:
        UsageError: the file cannot be read, an array is missing, the arrays are no such matrix or no counts, or have
            another number of words.
    """
    from scipy.sparse import csr_matrix

    kind = "word counts in compressed sparse rows"
    matrix = None if split else read_scipy(path)
    if matrix is None:
        names = [f"{split}_{name}" if split else name for name in ("indptr", "indices", "counts")]
        indptr, indices, counts = read_npz(path, names)
    with reading(path, kind):
        if matrix is None:
            if indptr.dtype.kind not in "iu" or indices.dtype.kind not in "iu" or counts.dtype.kind not in "biuf":
                raise ValueError(f"its arrays are of {indptr.dtype}, {indices.dtype} and {counts.dtype}")
            size = columns or int(indices.max(initial=0)) + 1
            parts = counts.astype(np.float64), indices.astype(np.int64), indptr.astype(np.int64)
            matrix = csr_matrix(parts, shape=(len(indptr) - 1, size))
            matrix.check_format(full_check=True)
        if columns not in (None, matrix.shape[1]):
            raise UsageError(
                f"{path} counts {matrix.shape[1]} words, and the vocabulary has {columns}: name the vocabulary it was "
                "made with."
            )
        _check_word(matrix.shape[1] - 1, columns)
        matrix = csr_matrix(matrix)
        check_numbers(path, matrix.data, 2**53)
        return matrix


def read_lda_c(path: Path, columns: int | None = None) -> Any:
    """Word counts of a text file of lda-c (Blei), SciPy's ``csr_matrix`` of shape (documents, columns).

    A line is a document: the number of its different words, then ``word:count`` for each, in any order; words are
    counted from 0. There are no comments.

    Args:
        path: of the file.
        columns: the size of the vocabulary; None: one more than the largest word.

    Raises:
        UsageError: the file cannot be read or holds no document; a line is no such document, has another number of
            words than it says, a word twice, or one beyond the vocabulary. The sentence names the line.
    """
    from scipy.sparse import csr_matrix

    kind = "word counts in lda-c's format"
    with reading(path, kind):
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8).rstrip()
        if not content:
            raise ValueError("it is empty")
        lines = content.split(b"\n")
        numbers: list[int] = []
        ends = [0]
        for place, line in enumerate(lines, 1):
            try:
                numbers += _document(line, columns)
            except ValueError as error:
                raise UsageError(f"{path} must be {kind}, and line {place} {error}.") from error
            ends.append(len(numbers) // 2)
        words, counts = np.array(numbers, np.int64).reshape(-1, 2).T
        size = columns or int(words.max(initial=0)) + 1
        return csr_matrix((counts, words, ends), shape=(len(lines), size))


def _document(line: bytes, columns: int | None) -> list[int]:
    """word, count, word, count, ... of a line."""
    if LINE.fullmatch(line) is None:
        raise ValueError(_fault(line))
    size, *numbers = map(int, line.replace(b":", b" ").split())
    words = numbers[::2]
    if size != len(words):
        raise ValueError(f"says {size} words and has {len(words)}: it was cut or joined; fetch the file again")
    if len(set(words)) < size:
        twice = next(word for place, word in enumerate(words) if word in words[:place])
        raise ValueError(f"has word {twice} twice: give each word of a document once, with all its counts")
    _check_word(max(words, default=0), columns)
    return numbers


def _fault(line: bytes) -> str:
    """What is wrong with a line that is no document, as the end of a sentence."""
    size, *entries = line.split() or [b""]
    bad = next((entry for entry in entries if ENTRY.fullmatch(entry) is None), size)
    shown = repr(bad[:40].decode(errors="replace"))
    if bad is size:
        return f"begins with {shown}, and not with the number of its words: correct the line"
    return f"has {shown} in place of word:count, two whole numbers: correct the line"


def _check_word(word: int, columns: int | None) -> None:
    most = columns or MOST_WORDS
    if word >= most:
        raise ValueError(
            f"has word {word}, and words are 0..{most - 1}: correct the file, or name the vocabulary it was made with"
        )


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """The words of a text file in UTF-8, with or without a byte-order mark, one a line.

    Lines end at a line feed, or a carriage return and a line feed, and at nothing else. Empty lines at the end are no
    words.

    Raises:
        UsageError: the file cannot be read, has no words, or an empty line among them.
    """
    kind = "a text file of words in UTF-8, one a line"
    with reading(path, kind):
        try:
            text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise UsageError(
                f"{path} must be {kind}, and line {line} is in another encoding: save it in UTF-8."
            ) from error
        if not text:
            raise ValueError("it is empty")
        words = tuple(text.split("\n"))
        if "" in words:
            raise UsageError(f"{path} must be {kind}, and line {words.index('') + 1} is empty: remove it or fill it.")
        return words
