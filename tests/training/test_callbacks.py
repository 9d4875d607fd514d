"""Callbacks: what they are shown, that they change nothing, how they stop a training, and what comes of an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import ppgen
from ppgen.data import as_dataset
from ppgen.files.checkpoint import read_checkpoint
from ppgen.training.callbacks import Training
from tests.doubles import Line, data

OPTIONS: dict[str, Any] = {"eager": True, "batch_size": 4, "validate_every": 3, "checkpoint_seconds": 0.0, "steps": 6}


def fit(*callbacks: Any, out: Path | None = None, **options: Any) -> ppgen.Run:
    held = as_dataset(data(12), valid=data(5, seed=2))
    return ppgen.fit(Line(), held, "elbo", callbacks=callbacks, out=out, **{**OPTIONS, **options})


class Diary(ppgen.Callback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int]] = []

    def at_start(self, training: Training) -> None:
        self.entries.append(("start", training.step))

    def after_step(self, training: Training) -> None:
        self.entries.append(("step", training.step))

    def after_validation(self, training: Training, metrics: Mapping[str, Mapping[str, float]]) -> None:
        assert metrics["valid"]["bound"] == training.metrics[-1]["bound"]
        assert metrics["train"]["loss"] == training.metrics[-2]["loss"]
        self.entries.append(("validation", training.step))

    def after_checkpoint(self, training: Training, file: Path) -> None:
        assert read_checkpoint(file)[1]["turn"] == training.step
        self.entries.append(("checkpoint", training.step))

    def at_end(self, training: Training) -> None:
        self.entries.append(("end", training.step))


class Draws(ppgen.Callback):
    """Draws random numbers, and looks at the pair, after each step."""

    def after_step(self, training: Training) -> None:
        torch.rand(5)
        ppgen.log_weights(training.pair, data(3).split(3), 2)


class Raises(ppgen.Callback):
    """Raises at a moment of a step."""

    def __init__(self, moment: str, step: int) -> None:
        self.step = step
        self.moment = moment

    def _at(self, moment: str, training: Training) -> None:
        if moment == self.moment and training.step >= self.step:
            raise KeyError("nothing of that name")

    def at_start(self, training: Training) -> None:
        self._at("at_start", training)

    def after_step(self, training: Training) -> None:
        self._at("after_step", training)

    def after_validation(self, training: Training, metrics: Mapping[str, Mapping[str, float]]) -> None:
        self._at("after_validation", training)

    def after_checkpoint(self, training: Training, file: Path) -> None:
        self._at("after_checkpoint", training)

    def at_end(self, training: Training) -> None:
        self._at("at_end", training)


class Breaks(ppgen.Callback):
    """Makes the parameters useless."""

    def after_step(self, training: Training) -> None:
        with torch.no_grad():
            next(training.pair.parameters()).fill_(float("nan"))


class Stops(ppgen.Callback):
    """Asks for an end after two steps."""

    def after_step(self, training: Training) -> None:
        if training.step == 2:
            training.stop()


def parameters(run: ppgen.Run) -> dict[str, torch.Tensor]:
    return dict(run.pair.state_dict())


def test_a_callback_is_told_of_each_step_validation_and_checkpoint_in_their_order(tmp_path: Path) -> None:
    diary = Diary()
    fit(diary, out=tmp_path, steps=4)
    one, two, three, four = (("step", step) for step in (1, 2, 3, 4))
    seen = [one, two, three, ("validation", 3), ("checkpoint", 3), four, ("validation", 4), ("checkpoint", 4)]
    assert diary.entries == [("start", 0), ("checkpoint", 0), *seen, ("end", 4)]


def test_what_it_draws_and_looks_at_changes_nothing_of_training() -> None:
    alone, watched = fit(), fit(Draws())
    assert all(torch.equal(value, parameters(watched)[name]) for name, value in parameters(alone).items())
    assert [line.get("bound") for line in alone.metrics] == [line.get("bound") for line in watched.metrics]


def test_one_that_asks_to_stop_leaves_a_run_that_is_gone_on_with_to_the_same_bits(tmp_path: Path) -> None:
    whole = fit(out=tmp_path / "whole")
    stopped = fit(Stops(), out=tmp_path / "cut")
    assert stopped.metrics[-1]["step"] == 2
    again = fit(out=tmp_path / "cut", resume=True)
    assert all(torch.equal(value, parameters(again)[name]) for name, value in parameters(whole).items())


@pytest.mark.parametrize(
    ("moment", "after"), [("at_start", 0), ("after_step", 2), ("after_validation", 3), ("after_checkpoint", 3)]
)
def test_one_that_raises_is_named_and_leaves_a_run_that_can_be_gone_on_with(
    tmp_path: Path, moment: str, after: int
) -> None:
    whole, diary = fit(out=tmp_path / "whole"), Diary()
    with pytest.raises(
        ppgen.UsageError, match=rf"callback Raises raised KeyError.* in its {moment}.*after step {after}"
    ):
        fit(Raises(moment, min(after, 2)), diary, out=tmp_path / "cut")
    assert diary.entries[-1] == ("end", after)
    assert read_checkpoint(tmp_path / "cut" / "checkpoint.safetensors")[1]["turn"] == after
    again = fit(out=tmp_path / "cut", resume=True)
    assert all(torch.equal(value, parameters(again)[name]) for name, value in parameters(whole).items())


def test_the_error_of_one_that_raises_is_the_cause_and_its_line_is_told() -> None:
    with pytest.raises(
        ppgen.UsageError, match=r"test_callbacks\.py:\d+.*nothing of this training was to be wr"
    ) as caught:
        fit(Raises("after_step", 1))
    assert isinstance(caught.value.__cause__, KeyError)


def test_one_that_raises_at_the_end_takes_nothing_along(tmp_path: Path) -> None:
    with pytest.raises(ppgen.UsageError, match="at_end"):
        fit(Raises("at_end", 6), out=tmp_path)
    assert ppgen.load(tmp_path, pair=Line(), data=data(12)).metrics[-1]["step"] == 6


def test_all_are_told_of_the_end_of_a_training_that_did_not_go_well() -> None:
    diary = Diary()
    with pytest.raises(ppgen.UsageError, match="training stopped at step 1"):
        fit(Breaks(), diary)
    assert diary.entries == [("start", 0), ("step", 1), ("end", 1)]


def test_the_report_is_the_mean_since_the_last_validation_and_is_left_as_it_was() -> None:
    seen: list[float] = []

    class Reads(ppgen.Callback):
        def after_step(self, training: Training) -> None:
            seen.append(training.report()["loss"])

    run, alone = fit(Reads()), fit()
    train = [line["loss"] for line in run.metrics if line["split"] == "train"]
    assert [seen[2], seen[5]] == pytest.approx(train)
    assert train == [line["loss"] for line in alone.metrics if line["split"] == "train"]


@pytest.mark.parametrize(
    ("callbacks", "said"),
    [
        (Diary(), r"callbacks must be a list, such as \[Diary\(\)\]"),
        ([Diary], r"has the class Diary: give an instance, Diary\(\)"),
        ([print], "objects of classes derived from ppgen.Callback, got <built-in function print>"),
        (3, "callbacks must be a list"),
    ],
    ids=["one alone", "a class", "a function", "a number"],
)
def test_what_is_no_list_of_callbacks_is_refused_before_anything_is_written(
    tmp_path: Path, callbacks: Any, said: str
) -> None:
    with pytest.raises(ppgen.UsageError, match=said):
        ppgen.fit(Line(), data(12), "elbo", callbacks=callbacks, out=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_is_written_every_so_many_turns(tmp_path: Path) -> None:
    diary = Diary()
    fit(diary, out=tmp_path, steps=5, checkpoint_every=2, checkpoint_seconds=1e9)
    assert [step for what, step in diary.entries if what == "checkpoint"] == [0, 2, 4, 5]


def test_how_often_checkpoints_are_written_may_differ_when_a_run_is_gone_on_with(tmp_path: Path) -> None:
    whole = fit(out=tmp_path / "whole", schedule="constant")
    fit(out=tmp_path / "run", steps=4, checkpoint_every=1, schedule="constant")
    again = fit(out=tmp_path / "run", resume=True, schedule="constant")
    assert all(torch.equal(value, parameters(again)[name]) for name, value in parameters(whole).items())
