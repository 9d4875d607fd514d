"""Completions of pictures on the page of a run, and from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppgen
from ppgen.cli import main
from ppgen.draws import completions, upper_half
from ppgen.errors import UsageError
from ppgen.models import VAE, PixelCNN
from ppgen.report import page as report
from ppgen.runs.run import Run
from tests.reported import Page

UPPER = 32
"""Numbers of the upper half of a picture of 8 x 8."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    data = ppgen.load_data("digits", binarize="threshold")
    pair = PixelCNN(data.spec, 2, num_layers=1, first_kernel=3)
    out = tmp_path_factory.mktemp("completed")
    return ppgen.fit(pair, data, "elbo", steps=1, batch_size=10, eager=True, progress=False, out=out, seed=0)


def test_the_page_has_lower_halves_drawn_thrice_and_says_what_is_given(trained: Run) -> None:
    page = Page(report.render(trained))
    assert "Completions of lower halves" in page.text
    assert {"drawn", "drawn again", "drawn a third time"} <= set(page.text)


def test_upper_halves_stay_and_lower_ones_are_drawn(trained: Run) -> None:
    (x,) = trained.data.shown
    drawn = trained.complete(num=6)
    assert torch.equal(drawn[:, :UPPER], x[:6, :UPPER])
    assert not torch.equal(drawn[:, UPPER:], x[:6, UPPER:])
    assert torch.equal(drawn, trained.complete(x[:6]))
    assert not torch.equal(drawn, trained.complete(num=6, seed=1))


def test_the_command_line_completes_a_split_and_a_file(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "mine.npy", np.ones((3, 64), dtype=np.float32))
    out = str(tmp_path / "c.npz")
    for of, num in (("valid", 5), (str(tmp_path / "mine.npy"), 3)):
        assert main(["sample", str(trained.directory), "--complete", of, "-n", "5", "--out", out]) == 0
        assert f"{num} pictures of {of}, their lower halves drawn" in capsys.readouterr().out
    assert np.load(out)["x"][:, :UPPER].all()
    assert main(["sample", str(trained.directory), "-n", "2", "--out", out]) == 0
    assert capsys.readouterr().out.endswith("2 samples from the model\n")


def test_a_long_draw_shows_a_bar_on_the_command_line_and_nowhere_else(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    trained.sample(2)
    trained.complete(num=2)
    assert capsys.readouterr().err == ""
    for whole in ([], ["--complete", "test"]):
        assert main(["sample", str(trained.directory), "-n", "2", "--out", str(tmp_path / "c.npz"), *whole]) == 0
        assert "pixels" in capsys.readouterr().err


def test_pictures_of_another_size_are_refused_and_pairs_that_complete_nothing(trained: Run) -> None:
    with pytest.raises(UsageError, match=r"expected data of shapes \(N, 64\), .* got \(N, 100\)"):
        trained.complete(torch.ones(2, 100))
    with pytest.raises(UsageError, match=r"PixelCNN completes data of 64 numbers each, got x of shape \(2, 100\)"):
        completions(trained.pair, (torch.ones(2, 100),), upper_half(trained.data.spec))
    with pytest.raises(UsageError, match="known features to stand first in the model's order"):
        completions(trained.pair, (torch.ones(2, 64),), ~upper_half(trained.data.spec))
    with pytest.raises(UsageError, match="VAE does not draw the features of a datum one after another"):
        completions(VAE(trained.data.spec, 2), (torch.ones(2, 64),), upper_half(trained.data.spec))
    with pytest.raises(UsageError, match="data 'numbers' have no image shape"):
        upper_half(ppgen.DataSpec("numbers", 4, "real"))
