"""Callbacks: objects that look on while a pair is trained, and may stop it.

They are called between turns, when all numbers of the turn are there and nothing is half-written, so that one that
raises takes nothing along: the checkpoint is written, training ends, and the error is told with the callback's name.
What they draw leaves training's random numbers as they are. Of several ranks rank 0 alone calls them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ppgen.data import Dataset
from ppgen.errors import DivergedError, UsageError, blame, cut, one_line, shown
from ppgen.machine.ranks import Ranks
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.training.metrics import MetricsLog
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__ = ["Callback", "Callbacks", "Training", "as_callbacks"]


class Training:
    """A training under way, as its callbacks see it: to be read, and to be stopped.

    Attributes:
        directory: of the run; None: nothing is written.
        config: what ``config.json`` holds.
        metrics: what ``metrics.jsonl`` holds so far.
        stopped: whether a callback asked to stop.
    """

    def __init__(self, trainer: Trainer, directory: Path | None, log: MetricsLog) -> None:
        self._trainer, self._log = trainer, log
        self.directory = directory
        self.config: Mapping[str, Any] = {}
        self.stopped = False

    @property
    def step(self) -> int:
        """Turns taken so far."""
        return self._trainer.turn

    @property
    def total_steps(self) -> int:
        """Turns of the whole run."""
        return self._trainer.total_turns

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return self._trainer.epoch

    @property
    def pair(self) -> Pair:
        """The pair, with its parameters of now."""
        return self._trainer.learner.pair

    @property
    def data(self) -> Dataset:
        """What it is trained on."""
        return self._trainer.data

    @property
    def objective(self) -> Objective:
        """What it is trained with, as it is at this step."""
        return self._trainer.objective.at(self._trainer.stage_turn)

    @property
    def options(self) -> TrainingOptions:
        """How it is trained."""
        return self._trainer.options

    @property
    def devices(self) -> list[torch.device]:
        """The GPU that it runs on, if it does."""
        return [self._trainer.device] if self._trainer.device.type == "cuda" else []

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl`` so far."""
        return self._log.lines

    def report(self) -> dict[str, float]:
        """Means, over the steps since the last validation, of ``loss``, ``bound``, ``gradient_norm``, ...; nats.

        On a GPU this waits for the steps to end, and a callback that does not ask waits for nothing.
        """
        return self._trainer.means()

    def stop(self) -> None:
        """End training after this turn, as at its full length: the run can be gone on with."""
        self.stopped = True


class Callback:
    """Looks on while a pair is trained; of several ranks rank 0 alone calls it.

    To write one: derive from this, and override what you need. ``training.step``, ``.pair``, ``.metrics`` and the rest
    of :class:`Training` are to be read; ``training.stop()`` ends it.

    >>> import ppgen, torch
    >>> class Enough(ppgen.Callback):
    ...     def after_step(self, training):
    ...         if training.report()["loss"] < 1e6:
    ...             training.stop()
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"))
    >>> run = ppgen.fit(pair, torch.randn(20, 3), "elbo", steps=50, eager=True, callbacks=[Enough()])
    >>> run.metrics[-1]["step"]
    1
    """

    def at_start(self, training: Training) -> None:
        """Before the first turn, or the first after a resumption."""

    def after_step(self, training: Training) -> None:
        """After each turn, the next of which may have begun on a GPU."""

    def after_validation(self, training: Training, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """After each report: ``metrics["train"]`` and, where data are held out, ``metrics["valid"]``, per datum."""

    def after_checkpoint(self, training: Training, file: Path) -> None:
        """After a checkpoint was written."""

    def at_end(self, training: Training) -> None:
        """When training ends, however it ends: to close what was opened."""


_MOMENTS = ("at_start", "after_step", "after_validation", "after_checkpoint", "at_end")


class Callbacks:
    """The callbacks of one training, and what became of them.

    Args:
        callbacks: in the order in which they are called.
        training: what they are shown.
    """

    def __init__(self, callbacks: Iterable[Callback], training: Training) -> None:
        self.training = training
        self.failure: UsageError | None = None
        every = list(callbacks)
        self._called = {moment: [one for one in every if _listens(one, moment)] for moment in _MOMENTS}

    @property
    def stop(self) -> bool:
        """Whether training is to end: one asked for it, or raised."""
        return self.training.stopped or self.failure is not None

    def call(self, moment: str, *given: Any) -> None:
        """Call all that listen; once one has raised, only those that close what they opened.

        Raises:
            DivergedError: a number of training was not finite, when a callback asked for it.
        """
        for callback in self._called[moment]:
            if self.failure is not None and moment != "at_end":
                return
            try:
                with torch.random.fork_rng(self.training.devices):
                    getattr(callback, moment)(self.training, *given)
            except DivergedError:
                raise
            except Exception as error:
                self.failure = self.failure or self._failure(callback, moment, error)

    def check(self, ranks: Ranks) -> None:
        """Tell what a callback raised, on every rank.

        Raises:
            UsageError: one did.
        """
        said = ranks.gathered(None if self.failure is None else str(self.failure))[0]
        if said is not None:
            raise self.failure or UsageError(said)

    def _failure(self, callback: Callback, moment: str, error: Exception) -> UsageError:
        name, training = type(callback).__qualname__, self.training
        said = cut(one_line(f"{type(error).__name__}: {error}").rstrip(": ."), 400)
        where = f" ({line})" if (line := blame(error)) else ""
        after = (
            "nothing of this training was to be written"
            if training.directory is None
            else f"its checkpoint in {training.directory} is whole: mend the callback, or leave it out, and resume"
        )
        failure = UsageError(
            f"callback {name} raised {said} in its {moment}{where}, after step {training.step}: training was stopped, "
            f"and {after}."
        )
        failure.__cause__ = error
        return failure


def as_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Callbacks, given as a list.

    Raises:
        UsageError: it is none, or holds something else.
    """
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        raise UsageError(f"callbacks must be a list, such as [{_name(callbacks)}], got {_name(callbacks)} alone.")
    every = tuple(callbacks)
    for one in every:
        if isinstance(one, type) and issubclass(one, Callback):
            raise UsageError(f"callbacks has the class {one.__name__}: give an instance, {one.__name__}().")
        if not isinstance(one, Callback):
            raise UsageError(
                f"callbacks must be objects of classes derived from ppgen.Callback, got {shown(one)}: override its "
                "after_step, after_validation or after_checkpoint."
            )
    return every


def _listens(callback: Callback, moment: str) -> bool:
    return getattr(type(callback), moment) is not getattr(Callback, moment)


def _name(value: Any) -> str:
    return f"{type(value).__name__}()" if isinstance(value, Callback) else shown(value)
