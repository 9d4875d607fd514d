"""Generated files and counts: what is read is what was written, and whatever else comes is refused, never worse."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy import sparse
from scipy.io import savemat

from ppgen.data import as_dataset, dataset_from
from ppgen.data.formats import read_csv, read_idx, read_npz
from ppgen.data.matlab import read_mat
from ppgen.data.words import read_counts, read_lda_c, read_vocabulary
from ppgen.errors import UsageError
from tests.generated import generated, made_or_refused

WORDS = 12
DOCUMENT = st.lists(st.tuples(st.integers(0, WORDS - 1), st.integers(1, 10**9)), unique_by=lambda entry: entry[0])
DOCUMENTS = st.lists(DOCUMENT, min_size=1, max_size=5)
ENDS = st.sampled_from(["\n", "\r\n"])
BOM = st.sampled_from([b"", codecs.BOM_UTF8])
WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\ufeff"), min_size=1)

NUMPY = "?bBhHiIlLqQfd"
TORCH = (torch.half, torch.bfloat16, torch.uint16, torch.uint8, torch.bool, torch.int64, torch.float8_e5m2)
ENTRY = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 300) | st.integers(2**24 - 3, 2**63))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for every example to write anew."""
    return tmp_path_factory.mktemp("generated") / "file.npz"


def lines_of(documents: list[list[tuple[int, int]]]) -> list[str]:
    return [" ".join([str(len(entries)), *(f"{word}:{count}" for word, count in entries)]) for entries in documents]


@generated(DOCUMENTS, ENDS, BOM, st.booleans(), examples=100)
def test_lda_c_is_read_as_it_was_written_in_any_order(
    path: Path, documents: list[list[tuple[int, int]]], end: str, bom: bytes, ended: bool
) -> None:
    path.write_bytes(bom + (end.join(lines_of(documents)) + end * ended).encode())
    found = read_lda_c(path, WORDS)
    expected = np.zeros((len(documents), WORDS), np.int64)
    for row, entries in enumerate(documents):
        for word, count in entries:
            expected[row, word] = count
    assert np.array_equal(found.toarray(), expected)


@generated(DOCUMENTS, st.data(), examples=100)
def test_a_line_of_lda_c_that_was_cut_is_named(
    path: Path, documents: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    documents[-1].append((WORDS, 1))
    lines = lines_of(documents)
    kept = data.draw(st.integers(1, lines[-1].rindex(" ")))  # at least the last word is gone
    path.write_text("\n".join([*lines[:-1], lines[-1][:kept]]))
    with pytest.raises(UsageError, match=f"and line {len(lines)} "):
        read_lda_c(path, WORDS + 1)


@generated(st.text("0123456789:#-+._ \t\r\n\x0b\u0661", max_size=30), st.none() | st.just(3), examples=100)
def test_what_is_no_lda_c_is_refused(path: Path, text: str, columns: int | None) -> None:
    path.write_bytes(text.encode())
    found = made_or_refused(lambda: read_lda_c(path, columns))
    if found is not None:
        numbers = [int(number) for number in text.replace(":", " ").split()]
        assert found.nnz == text.count(":")
        assert found.nnz + int(found.indices.sum()) + int(found.data.sum()) == sum(numbers)


@generated(st.lists(WORD, min_size=1), ENDS, BOM, st.booleans(), examples=100)
def test_a_vocabulary_is_read_as_it_was_written(
    path: Path, words: list[str], end: str, bom: bytes, ended: bool
) -> None:
    path.write_bytes(bom + (end.join(words) + end * ended).encode())
    assert read_vocabulary(path) == tuple(words)


@generated(st.binary(), examples=100)
def test_every_word_of_a_vocabulary_has_letters(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    words = made_or_refused(lambda: read_vocabulary(path))
    assert words is None or (words and all(words))


def check_totals(matrix: Any, words: list[int]) -> None:
    """Either way that data enter, each document has so many words, or the data are refused."""
    kept = made_or_refused(lambda: as_dataset(matrix))
    if kept is not None:
        kind = kept.train[0].dtype
        rounding = (
            torch.finfo(kind).eps if kind.is_floating_point else 0
        )  # of what floats hold; whole numbers are exact
        assert kept.train[0].sum(1).tolist() == pytest.approx(words, rel=rounding, abs=0)
    counted = made_or_refused(lambda: dataset_from(matrix, valid=matrix, test=matrix))
    assert (counted is not None) == (0 < min(words) <= max(words) < 2**24)
    if counted is not None:
        assert counted.train[0].sum(1).tolist() == counted.rows("train")[0].sum(1).tolist() == words


@generated(
    st.sampled_from(NUMPY),
    st.lists(ENTRY, max_size=8),
    st.sampled_from(["coo", "csr", "csc", "bsr", "lil"]),
    examples=100,
)
def test_counts_of_scipy_add_up_whatever_their_type(kind: str, entries: list[tuple[int, int, int]], form: str) -> None:
    if form != "coo":  # SciPy's other forms add entries of one place up when they are made, in the type they have
        entries = list({entry[:2]: entry for entry in entries}.values())
    rows, columns, counts = np.array(entries, np.uint64).reshape(-1, 3).T
    most = np.iinfo(kind).max if np.dtype(kind).kind in "iu" else 2**63
    values = np.minimum(counts, most).astype(kind)
    matrix = sparse.coo_array((values, (rows.astype(int), columns.astype(int))), shape=(3, 4)).asformat(form)
    check_totals(matrix, [sum(map(int, values[rows == row])) for row in range(3)])


@generated(st.sampled_from(TORCH), st.lists(ENTRY, max_size=8), examples=100)
@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")  # torch's own
def test_counts_of_torch_add_up_whatever_their_type(kind: torch.dtype, entries: list[tuple[int, int, int]]) -> None:
    rows, columns, counts = torch.tensor(entries, dtype=torch.float64).reshape(-1, 3).T
    values = counts.clamp(max=2.0**15).to(kind)
    matrix = torch.sparse_coo_tensor(torch.stack([rows, columns]).long(), values, (3, 4))
    check_totals(matrix, [int(values[rows == row].double().sum()) for row in range(3)])


def archive(path: Path) -> bytes:
    np.savez(path, indptr=[0, 2, 3], indices=[3, 0, 1], counts=[1, 2, 3])
    return path.read_bytes()


def matlab(path: Path) -> bytes:
    with path.open("wb") as file:
        savemat(file, {"a": np.arange(12.0).reshape(3, 4), "b": "text", "c": np.arange(3, dtype=np.uint8)})
    return path.read_bytes()


READERS: dict[Callable[[Path], bytes], tuple[Callable[[Path], Any], ...]] = {
    archive: (read_counts, as_dataset, lambda path: read_npz(path, ["counts"])),
    matlab: (lambda path: read_mat(path, ["a", "c"]),),
}


@generated(st.sampled_from(list(READERS)), st.data(), examples=100)
def test_damaged_archives_are_made_or_refused(path: Path, made: Callable[[Path], bytes], data: st.DataObject) -> None:
    content = bytearray(made(path))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    for read in READERS[made]:
        made_or_refused(partial(read, path))


@generated(
    st.binary() | st.text("0123456789,.ab\n\r\"'").map(str.encode),
    st.sampled_from([b"", b"\0\0\x08", b"PK\3\4"]),
    examples=100,
)
def test_arbitrary_bytes_are_made_or_refused(path: Path, content: bytes, begin: bytes) -> None:
    path.write_bytes(begin + content)
    for read in (read_counts, read_csv, read_idx, as_dataset, lambda path: read_mat(path, ["a"])):
        made_or_refused(partial(read, path))
