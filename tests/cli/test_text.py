"""The command line on word counts: an RBM of documents, a VAE of them, and a file of the user's own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import ppgen
from ppgen.data import SparseRows
from tests.cli_cases import SMALL, run

RBM = ["train", "rbm", "-M", "hidden=5", "--objective", "cd", "--steps", "3", "--eager", "--out", "r", "--data"]
VAE = ["train", "vae", *SMALL, "--objective", "elbo", "--eager", "--out", "r", "--data"]

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture
def documents(in_an_empty_folder: None) -> None:
    """A file of forty documents over four words, each with one word at least, and the words."""
    x = np.random.RandomState(0).poisson(0.5, (40, 4)) + np.eye(4, dtype=int)[np.arange(40) % 4]
    document, word = x.nonzero()
    indptr = np.r_[0, np.bincount(document, minlength=40).cumsum()]
    np.savez("counts.npz", indptr=indptr, indices=word, counts=x[document, word])
    Path("words.txt").write_text('ant\nbee\ncat\n"dog", barks\n')


@pytest.mark.usefixtures("few_sweeps")
def test_an_rbm_of_bars_is_trained_evaluated_drawn_from_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *RBM, "bars").code == 0
    found = json.loads(run(capsys, "evaluate", "r", "--exact-log-z", "--json").out)
    assert -100 < found["log_likelihood"] < -40  # the multinomial of the mean document has about -65
    assert run(capsys, "sample", "r", "-n", "3", "--out", "s.npz").code == 0
    with np.load("s.npz") as arrays:
        assert arrays["x"].sum(1).tolist() == [100.0] * 3
    assert run(capsys, "report", "r").code == 0
    page = Path("r/report.html").read_text()
    assert "There is no such picture" not in page
    assert all(title in page for title in ("Reconstructions", "Samples", "Chains", "Free energies", "Filters"))


@pytest.mark.usefixtures("few_sweeps")
def test_text_of_several_lengths_has_a_log_z_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *RBM, "pydoc").code == 0
    found = json.loads(run(capsys, "evaluate", "r", "--temperatures", "5", "--json").out)
    sizes = found["log_z"]["sizes"]
    assert sizes == sorted(set(ppgen.load("r").data.rows("test")[0].sum(1).int().tolist()))
    assert len(found["log_z"]["of_sizes"]) == len(sizes) > 1
    assert run(capsys, "sample", "r", "-n", "2", "--out", "s.npz").code == 0


def test_a_vae_of_sparse_text_goes_on_and_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *VAE, "pydoc", "--steps", "2").code == 0
    assert run(capsys, *VAE, "pydoc", "--steps", "4", "--resume").code == 0
    found = ppgen.load("r")
    assert isinstance(found.data.train[0], SparseRows)
    assert found.metrics[-1]["step"] == 4
    assert run(capsys, "evaluate", "r", "--particles", "2", "--num-data", "20").code == 0
    assert run(capsys, "report", "r").code == 0
    assert "There is no such picture" not in Path("r/report.html").read_text()


@pytest.mark.usefixtures("documents")
def test_a_file_of_ones_own_is_trained_on_and_named_in_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["documents", "-D", "file=counts.npz", "-D", "vocabulary=words.txt"]
    assert run(capsys, *VAE, *own, "--steps", "2").code == 0
    assert json.loads(Path("r/config.json").read_text())["data"]["options"]["file"] == "counts.npz"
    assert run(capsys, "sample", "r", "-n", "3", "--out", "s.csv").code == 0
    with Path("s.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["ant", "bee", "cat", '"dog", barks']
    assert len(rows) == 3
    Path("words.txt").write_text("ant\nbee\ncat\ndog\neel")
    assert "of 4 features, and data 'documents' have 5: give" in run(capsys, "evaluate", "r").err.replace("\n", " ")
    Path("counts.npz").unlink()
    assert "file must name a file, got 'counts.npz'" in run(capsys, "evaluate", "r").err.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([*VAE, "documents"], "-D file=counts.npz"),
        ([*RBM, "bars", "-M", "visible=bernoulli"], "a bernoulli layer needs binary data, and data 'bars' are counts"),
        ([*RBM, "bars", "-M", "length=0"], "length must be"),
        ([*RBM, "digits", "-M", "length=10"], "length is that of documents"),
        ([*RBM, "bars", "-D", "size=1"], "size must be a whole number of at least 2, got 1"),
    ],
)
def test_bad_input_is_one_sentence(options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = run(capsys, *options)
    assert given.code == 2
    assert sentence in given.err.replace("\n", " ")
    assert given.err.count("\n") == 1
    assert not Path("r").exists()


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        (
            "counts.dat",
            b"1 0:1\n5 0:1 3:2\n",
            "counts.dat must be word counts in lda-c's format, and line 2 says 5 words",
        ),
        ("counts.dat", b"", "counts.dat must be word counts in lda-c's format, but it cannot be read"),
        ("counts.npz", b"PK\3\4", "counts.npz must be a NumPy .npz archive, but it cannot be read"),
        ("words.txt", b"ant\nb\xebe\ncat\ndog", "words.txt must be a text file of words in UTF-8"),
        (
            "words.txt",
            b"ant\n\ncat\ndog",
            "words.txt must be a text file of words in UTF-8, one a line, and line 2 is empty",
        ),
    ],
)
@pytest.mark.usefixtures("documents")
def test_a_damaged_file_is_one_sentence(
    file: str, content: bytes, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(file).write_bytes(content)
    counts = file if file.startswith("counts") else "counts.npz"
    given = run(capsys, *VAE, "documents", "-D", f"file={counts}", "-D", "vocabulary=words.txt")
    assert sentence in given.sentence
    assert not Path("r").exists()
