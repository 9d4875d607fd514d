"""Of a run both the best and the last parameters are kept, and each can be had."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import ppgen
from ppgen.cli import main
from ppgen.data import as_dataset
from ppgen.files.checkpoint import read_checkpoint
from ppgen.training.callbacks import Training
from ppgen.training.stopping import EarlyStopping
from tests.doubles import Line, data

SAVED = Path(__file__).with_name("saved")
OPTIONS: dict[str, Any] = {"eager": True, "batch_size": 4, "validate_every": 1, "schedule": "constant", "steps": 8}


class Spoils(ppgen.Callback):
    """Makes the pair worse after five steps."""

    def after_step(self, training: Training) -> None:
        if training.step == 5:
            with torch.no_grad():
                for parameter in training.pair.parameters():
                    parameter.add_(3.0)


def fit(out: Path, **options: Any) -> ppgen.Run:
    """The first validations are better than the last."""
    held = as_dataset(data(12), valid=data(5, seed=2))
    return ppgen.fit(Line(), held, "elbo", out=out, window=2, callbacks=[Spoils()], **{**OPTIONS, **options})


def load(folder: Path, which: str | None = None) -> ppgen.Run:
    return ppgen.load(folder, pair=Line(), data=data(12), which=which)


def kept(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    tensors, _ = read_checkpoint(folder / "checkpoint.safetensors")
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def same(run: ppgen.Run, tensors: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, tensors[name]) for name, value in run.pair.state_dict().items())


def test_without_patience_the_last_are_used_and_the_best_can_be_had(tmp_path: Path) -> None:
    run = fit(tmp_path)
    best, last = kept(tmp_path, "best.pair."), kept(tmp_path, "learner.pair.")
    assert any(not torch.equal(best[name], value) for name, value in last.items())
    assert same(run, last)
    assert same(load(tmp_path), last)
    assert same(load(tmp_path, "last"), last)
    assert same(load(tmp_path, "best"), best)


def test_with_patience_the_best_are_used_and_the_last_can_be_had(tmp_path: Path) -> None:
    run = fit(tmp_path, patience=50)
    best, last = kept(tmp_path, "best.pair."), kept(tmp_path, "learner.pair.")
    assert same(run, best)
    assert same(load(tmp_path), best)
    assert same(load(tmp_path, "last"), last)


def test_what_is_found_of_others_than_the_usual_ones_is_not_kept(tmp_path: Path) -> None:
    fit(tmp_path)
    load(tmp_path, "best").evaluate(particles=2)
    assert load(tmp_path).evaluation is None
    load(tmp_path, "last").evaluate(particles=2)
    assert load(tmp_path).evaluation is not None


def test_the_best_are_those_of_the_highest_mean_and_before_there_is_one_the_last() -> None:
    stopping, module = EarlyStopping(patience=None, window=2), torch.nn.Linear(1, 1)
    kept = []
    for bound in (5.0, 0.0, 2.0, 1.0, 0.0):  # means 2.5, 1, 1.5, 0.5
        torch.nn.init.constant_(module.weight, bound)
        stopping.see(bound, module)
        kept.append(stopping.best["weight"].item())
    assert kept == [5.0, 0.0, 0.0, 0.0, 0.0]
    assert not stopping.done


@pytest.mark.parametrize("which", ["bst", "", 3])
def test_another_word_is_refused(tmp_path: Path, which: Any) -> None:
    fit(tmp_path, steps=1)
    with pytest.raises(ppgen.UsageError, match=r"which parameters: expected a name, got .* Known names: best, last"):
        load(tmp_path, which)


def test_a_run_that_has_kept_no_best_says_why(tmp_path: Path) -> None:
    ppgen.fit(Line(), data(12), "elbo", out=tmp_path, **OPTIONS)
    with pytest.raises(ppgen.UsageError, match="has kept no best parameters: nothing was held out"):
        load(tmp_path, "best")


def test_the_command_line_has_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(SAVED / "vae", tmp_path / "r"))
    few = ["--particles", "2", "--num-data", "3"]
    assert main(["evaluate", str(run), "--which", "best", *few]) == 2
    assert "an earlier version of ppgen wrote it" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--which", "last", *few]) == 0
