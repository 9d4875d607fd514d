"""Documents: synthetic ones against their truth, embedded ones, those of files, and those of the user's."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from ppgen.data import SPLITS, Dataset, SparseRows, bar_topics, load_data
from ppgen.data.words import read_lda_c, read_vocabulary
from ppgen.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]

Require = Callable[[str], Path]


def tokens(data: Dataset) -> list[int]:
    return [int(data.split(split)[0].sum(1).double().sum()) for split in SPLITS]


def sizes(data: Dataset) -> list[int]:
    return [len(data.split(split)[0]) for split in SPLITS]


def test_bar_topics_are_the_rows_and_columns_of_a_square() -> None:
    topics = bar_topics(5).reshape(10, 5, 5)
    for k in range(5):
        expected = torch.zeros(5, 5)
        expected[k] = 0.2
        assert torch.equal(topics[k], expected)
        assert torch.equal(topics[5 + k], expected.T)


def test_bars_never_change() -> None:
    data = load_data("bars")
    assert sizes(data) == [1000, 200, 200]
    assert tokens(data) == [100_000, 20_000, 20_000]
    assert (data.spec.length, data.spec.image_shape, data.spec.observation) == (100, (5, 5), "counts")
    assert data.sha256 == "37d116ed1eba5ddaff76de10528f46f30996c2eb7ae5cda7b6deaeb2f9d34359"


def test_bars_have_the_moments_of_their_topics() -> None:
    """E[x / n] = topics' mean; Var[theta_k] of Dirichlet(c, ..., c) over T topics is (T - 1) / (T^2 (T c + 1))."""
    n, length, c, size = 20_000, 50, 0.3, 3
    x = load_data("bars", size=size, num_data=n, length=length, concentration=c).train[0].double() / length
    topics = bar_topics(size).double()
    T = len(topics)
    shared = torch.full((T, T), -1.0, dtype=torch.float64).fill_diagonal_(T - 1) / (T**2 * (T * c + 1))
    p = topics.mean(0)
    spread = topics.T @ shared @ topics  # of the documents' word probabilities
    exact = spread + (torch.diag(p) - torch.outer(p, p) - spread) / length
    assert ((x.mean(0) - p) / (exact.diag() / n).sqrt()).abs().max() < 4.5  # 9 tests of 7e-6, and the seed is fixed
    assert (torch.cov(x.T) - exact).abs().max() < 5 * exact.max() * (3 / n) ** 0.5


@pytest.mark.parametrize(
    ("option", "value"),
    [("size", 1), ("num_data", 0), ("length", 0), ("length", 1.5), ("concentration", 0), ("seed", -1)],
)
def test_bars_refuse(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{option} must be"):
        load_data("bars", **{option: value})


def test_pydoc_is_english_without_repeats_in_a_fixed_order() -> None:
    data = load_data("pydoc")
    words = data.spec.vocabulary
    assert words is not None
    assert {"object", "class", "function"} <= set(words)
    assert not {"the", "and", "of"} & set(words)
    assert len(data.train[0]) > 800
    assert len(data.valid[0]) == len(data.test[0]) == sum(sizes(data)) // 10
    assert min(float(data.split(split)[0].sum(1).min()) for split in SPLITS) >= 5
    assert data.sha256 == load_data("pydoc").sha256
    assert all(isinstance(data.split(split)[0], SparseRows) for split in SPLITS)


def test_20news_has_the_documents_words_and_tokens_of_its_page(require_data: Require) -> None:
    require_data("20news.npz")
    data = load_data("20news")
    assert sizes(data) == [10_258, 1000, 7487]
    assert sum(tokens(data)[:2]) == 991_493
    assert tokens(data)[2] == 629_312
    words = data.spec.vocabulary
    assert words is not None
    assert (len(words), words[0]) == (1995, "_eos_")
    assert data.sha256 == "cc441ebc566adc182d14e024331fe3b46358260f4dda83ea7f4126ffa5009a18"
    frequency = data.train[0].sum(0) + data.valid[0].sum(0)
    assert frequency[0] == 0
    assert bool((frequency[1:].diff() <= 0).all())  # the vocabulary is sorted by it: words and columns belong together


def test_20news_stays_sparse(require_data: Require) -> None:
    require_data("20news.npz")
    x = load_data("20news").train[0]
    assert isinstance(x, SparseRows)
    kept = sum(part.numel() * part.element_size() for part in (x.indptr, x.indices, x.values))
    assert kept < 0.1 * 4 * x.shape[0] * x.shape[1]


def test_ap_has_the_documents_words_and_tokens_of_its_page(require_data: Require) -> None:
    require_data("ap.npz")
    data = load_data("ap")
    assert sizes(data) == [1796, 225, 225]
    assert sum(tokens(data)) == 435_838
    assert data.spec.num_features == 10_473
    assert data.sha256 == "0f55be59bd084992d9de1a730949e5ac4f36c11b201470d7e110626ac12e8972"


def test_ap_of_the_original_file_is_the_same(
    require_data: Require, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, words = require_data("ap.npz"), require_data("ap_vocab.txt")
    packed = load_data("ap")
    with np.load(archive) as arrays:
        ends, ids, counts = (arrays[name].tolist() for name in ("indptr", "indices", "counts"))
    rows = [range(*ends[i : i + 2]) for i in range(len(ends) - 1)]
    lines = [" ".join([str(len(row)), *(f"{ids[i]}:{counts[i]}" for i in row)]) for row in rows]
    (tmp_path / "ap.dat").write_text("\n".join(lines))
    (tmp_path / "vocab.txt").write_bytes(words.read_bytes())
    monkeypatch.setenv("PPGEN_DATA", str(tmp_path))
    assert load_data("ap").sha256 == packed.sha256


@pytest.mark.parametrize(("name", "file"), [("20news", "20news.npz"), ("ap", "ap.dat")])
def test_a_missing_file_is_named_with_where_to_find_it(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPGEN_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=f"{name}' needs {file}.*http.*published checksum: put the file into"):
        load_data(name)


COUNTS = sparse.csr_matrix(np.random.RandomState(0).poisson(0.6, (30, 6)) + np.eye(6, dtype=int)[np.arange(30) % 6])
WORDS = ("ant", "bee", "cat", "dog", "eel", "fox")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Thirty documents of six words in both formats, and the words."""
    np.savez(tmp_path / "counts.npz", indptr=COUNTS.indptr, indices=COUNTS.indices, counts=COUNTS.data)
    lines = [f"{row.nnz} " + " ".join(f"{i}:{n}" for i, n in zip(row.indices, row.data, strict=True)) for row in COUNTS]
    (tmp_path / "counts.dat").write_text("\n".join(lines))
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    return tmp_path


@pytest.mark.parametrize("name", ["counts.npz", "counts.dat"])
def test_documents_are_read_from_both_formats(files: Path, name: str) -> None:
    data = load_data("documents", file=str(files / name), vocabulary=str(files / "words.txt"))
    assert sizes(data) == [24, 3, 3]
    assert data.spec.vocabulary == WORDS
    order = np.random.RandomState(0).permutation(30)
    everything = torch.cat([data.rows(split)[0] for split in ("valid", "test", "train")])
    assert np.array_equal(everything.numpy(), COUNTS.toarray()[order])
    again = load_data(data.config["name"], **data.config["options"])
    assert again.sha256 == data.sha256


def test_documents_may_have_files_of_their_own_for_every_split(files: Path) -> None:
    name = str(files / "counts.npz")
    data = load_data("documents", file=name, valid=name, test=str(files / "counts.dat"))
    assert sizes(data) == [30, 30, 30]
    assert data.spec.vocabulary is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "needs the .npz or lda-c file of word counts: file="),
        ({"file": "nowhere.npz"}, "file must name a file, got 'nowhere.npz', where there is none"),
        ({"file": "counts.npz", "vocabulary": "nowhere.txt"}, "vocabulary must name a file"),
        ({"file": "counts.npz", "vocabulary": "two.txt"}, "counts.npz must be word counts in compressed sparse rows"),
        ({"file": "counts.dat", "vocabulary": "two.txt"}, "counts.dat must be word counts in lda-c's format"),
        ({"file": "counts.npz", "vocabulary": "none.txt"}, "none.txt must be a text file of words"),
        ({"file": "words.txt"}, "words.txt must be word counts in lda-c's format"),
        ({"file": "broken.npz"}, "broken.npz must be a NumPy .npz archive"),
        ({"file": "other.npz"}, "indptr, indices, counts: indptr, counts missing, it has indices"),
        ({"file": "ends.npz"}, "ends.npz must be word counts in compressed sparse rows"),
        ({"file": "empty.npz"}, "and 1 of 4 are empty (row 1): drop the empty documents"),
        ({"file": "counts.npz", "held_out": 1.0}, "held_out between 0 and 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_documents_refuse(files: Path, options: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    (files / "two.txt").write_text("ant\nbee")
    (files / "none.txt").write_text("")
    (files / "broken.npz").write_bytes(b"PK")
    np.savez(files / "other.npz", indices=[0])
    np.savez(files / "ends.npz", indptr=[0, 5, 2], indices=[0, 1], counts=[1, 1])
    empty = {"indptr": [0, 1, 1, 2, 3], "indices": [0, 1, 0], "counts": [1, 1, 1]}
    np.savez(files / "empty.npz", **empty)  # type: ignore[arg-type]  # numpy's stub takes them for its flag
    with pytest.raises(UsageError) as refused:
        load_data("documents", **options)
    assert sentence in str(refused.value)


BLEI = "4 0:1 5:1 2:2 3:1\n2 1:3 0:1\n1 4:2\n" * 4


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1 0:1\n5 0:1 3:2", "line 2 says 5 words and has 2: it was cut or joined"),
        ("1 0:1\n# 1 0:1", "line 2 has '1' in place of word:count"),
        ("1 0:1 # a", "line 1 has '#' in place of word:count"),
        ("2 0:1 3", "line 1 has '3' in place of word:count"),
        ("1 -1:1", "line 1 has '-1:1' in place of word:count"),
        ("1 0:1.5", "line 1 has '0:1.5' in place of word:count"),
        ("0:1 1:2", "line 1 begins with '0:1', and not with the number of its words"),
        ("2 3:1 3:2", "line 1 has word 3 twice"),
        ("1 0:1\n1 6:1", "line 2 has word 6, and words are 0..5"),
        ("1 0:1\n\n1 0:1", "line 2 begins with ''"),
    ],
)
def test_a_line_that_is_no_document_is_named(files: Path, text: str, fault: str) -> None:
    (files / "bad.dat").write_text(text)
    with pytest.raises(UsageError, match=r"bad\.dat must be word counts in lda-c's format, and ") as refused:
        load_data("documents", file=str(files / "bad.dat"), vocabulary=str(files / "words.txt"))
    assert fault in str(refused.value)


def test_words_stand_in_any_order(files: Path) -> None:
    (files / "blei.dat").write_text(BLEI)
    data = load_data("documents", file=str(files / "blei.dat"), vocabulary=str(files / "words.txt"))
    assert sizes(data) == [10, 1, 1]
    assert sum(tokens(data)) == 4 * 11


def test_a_word_beyond_any_vocabulary_is_refused(files: Path) -> None:
    (files / "huge.dat").write_text("1 99999999999:1")
    with pytest.raises(UsageError, match=r"line 1 has word 99999999999, and words are 0\.\.9999999"):
        load_data("documents", file=str(files / "huge.dat"))


def test_a_large_file_of_lda_c_is_read_in_a_second(tmp_path: Path) -> None:
    words = np.random.RandomState(0).permutation(2000)[:60]
    line = " ".join(["60", *(f"{word}:3" for word in words)])
    (tmp_path / "large.dat").write_text("\n".join([line] * 11_000))
    start = time.process_time()
    assert read_lda_c(tmp_path / "large.dat", 2000).sum() == 11_000 * 60 * 3
    assert time.process_time() - start < 3  # 0.7 s where nothing else runs


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_documents_are_read_from_scipy_s_own_files(files: Path, form: str) -> None:
    sparse.save_npz(files / "scipy.npz", COUNTS.asformat(form))
    data = load_data("documents", file=str(files / "scipy.npz"), vocabulary=str(files / "words.txt"))
    assert data.sha256 == load_data("documents", file=str(files / "counts.npz")).sha256


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"indices": [99] * 5}, "a sparse matrix of SciPy's"),
        ({"indptr": [0, 5, 2]}, "a sparse matrix of SciPy's"),
        ({"shape": [2, 10**13]}, "no file may to more than 1 GiB"),
        ({"format": "zzz"}, "Unknown format"),
        ({"data": ["a"] * 5}, "'data' is of <U1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_damaged_file_of_scipy_s_is_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    whole: dict[str, Any] = {
        "indices": range(5),
        "indptr": [0, 2, 5],
        "shape": [2, 5],
        "data": [1] * 5,
        "format": "csr",
    }
    np.savez(tmp_path / "x.npz", **whole | change)
    with pytest.raises(UsageError, match=r"x\.npz must ") as refused:
        load_data("documents", file=str(tmp_path / "x.npz"))
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"ant\nbee", ("ant", "bee")),
        (b"ant\r\nbee\r\n", ("ant", "bee")),
        (b"\xef\xbb\xbfant\nbee\n", ("ant", "bee")),
        ("a\x0bb\nc\u2028d\nna\u00efve\x85\n\n".encode(), ("a\x0bb", "c\u2028d", "na\u00efve\x85")),
    ],
)
def test_words_stand_one_a_line(tmp_path: Path, content: bytes, words: tuple[str, ...]) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    assert read_vocabulary(tmp_path / "words.txt") == words


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty"),
        (b"ant\n\nbee", "line 2 is empty"),
        ("ant\nna\u00efve".encode("latin-1"), "line 2 is in another encoding: save it in UTF-8"),
        ("ant".encode("utf-16"), "line 1 is in another encoding"),
    ],
)
def test_what_are_no_words_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(UsageError, match=f"words.txt must be a text file of words in UTF-8, one a line.*{sentence}"):
        read_vocabulary(tmp_path / "words.txt")


def test_the_locale_does_not_matter(files: Path) -> None:
    (files / "words.txt").write_text("ant\nb\u00ebe\ncat\ndog\neel\nfox\n", encoding="utf-8")
    (files / "table.csv").write_text("b\u00ebe,cat\n1,2\n", encoding="utf-8")
    code = (
        "from ppgen.data import as_dataset, load_data; as_dataset('table.csv');"
        "print(ascii(load_data('documents', file='counts.npz', vocabulary='words.txt').spec.vocabulary[1]))"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=files, env=os.environ | plain, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, ascii("b\u00ebe")), done.stderr


@pytest.mark.parametrize("count", [-1, 0.5, float("nan"), float("inf")])
def test_counts_of_a_file_are_whole_numbers(tmp_path: Path, count: float) -> None:
    np.savez(tmp_path / "x.npz", indptr=[0, 1, 2], indices=[0, 1], counts=[1, count])
    with pytest.raises(
        UsageError, match=rf"x\.npz must hold whole numbers from 0 to \d+, got {count:g}: fetch it again"
    ):
        load_data("documents", file=str(tmp_path / "x.npz"))


def test_a_matrix_of_another_vocabulary_is_refused(files: Path) -> None:
    sparse.save_npz(files / "scipy.npz", sparse.csr_array(COUNTS[:, :5]))
    with pytest.raises(UsageError, match=r"scipy\.npz counts 5 words, and the vocabulary has 6: name the vocabulary"):
        load_data("documents", file=str(files / "scipy.npz"), vocabulary=str(files / "words.txt"))
