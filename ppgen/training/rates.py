"""How the learning rate goes over a run: by a factor of the turn, or as a scheduler of torch's sets it."""

from __future__ import annotations

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch.optim import lr_scheduler

from ppgen.errors import UsageError, nearest, shown
from ppgen.schedules import SCHEDULES, Schedule, parse_call, parse_schedule
from ppgen.training.named import Named

__all__ = ["CURVES", "NAMES", "Rates", "read_rates"]


class Rates(ABC):
    """The learning rates of a run; ``str`` is what ``config.json`` holds."""

    @abstractmethod
    def at(self, lr: float, turn: int, total: int) -> float:
        """The rate at a turn of ``total``, in a run whose learning rate is ``lr``."""


@dataclass(frozen=True)
class Factors(Rates):
    """``lr`` times a function of the turn and of how many there are."""

    text: str
    factor: Callable[[int, int], float] = field(compare=False)

    def at(self, lr: float, turn: int, total: int) -> float:
        return lr * self.factor(turn, total)

    def __str__(self) -> str:
        return self.text


_WHAT = "a schedule of the learning rate, such as cosine, linear(1, 0.1, 1000) or StepLR(step_size=1000)"


@dataclass(frozen=True)
class Scheduler(Named, Rates):
    """One of ``torch.optim.lr_scheduler`` that needs neither a metric nor other objects, stepped once a turn."""

    what: ClassVar[str] = _WHAT
    known: ClassVar[Sequence[Any]] = (
        lr_scheduler.ConstantLR,
        lr_scheduler.CosineAnnealingLR,
        lr_scheduler.CosineAnnealingWarmRestarts,
        lr_scheduler.CyclicLR,
        lr_scheduler.ExponentialLR,
        lr_scheduler.LinearLR,
        lr_scheduler.MultiStepLR,
        lr_scheduler.OneCycleLR,
        lr_scheduler.PolynomialLR,
        lr_scheduler.StepLR,
    )
    reserved: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("optimizer", "last_epoch", "verbose"), "training sets it: leave it out"
    )

    def at(self, lr: float, turn: int, total: int) -> float:
        return _stepped(str(self), lr).at(turn)


class _Stepped:
    """A scheduler and the rates that it has set so far; those of a run that is resumed are found again by stepping."""

    def __init__(self, schedule: Scheduler, lr: float) -> None:
        self.optimizer = torch.optim.SGD([torch.zeros(())], lr)
        self.scheduler = schedule.kind(self.optimizer, **schedule.options)
        self.rates: list[float] = [self.optimizer.param_groups[0]["lr"]]

    def at(self, turn: int) -> float:
        while len(self.rates) <= turn:
            self.optimizer.step()
            self.scheduler.step()
            self.rates.append(self.optimizer.param_groups[0]["lr"])
        return self.rates[turn]


@functools.lru_cache(maxsize=8)
def _stepped(text: str, lr: float) -> _Stepped:
    return _Stepped(Scheduler.read(text), lr)


def _constant(turn: int, total: int) -> float:
    return 1.0


def _cosine(turn: int, total: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * turn / total))


CURVES = {"constant": Factors("constant", _constant), "cosine": Factors("cosine", _cosine)}
"""The schedules that a word is enough for; cosine falls to zero at the end of the run."""

_TORCHS = [kind.__name__ for kind in Scheduler.known]
NAMES = [*CURVES, *SCHEDULES, *_TORCHS]
"""Of all that text may name."""

_OF_PYTHON = "function "


def read_rates(value: Any) -> Rates:
    """What stands for a schedule of the learning rate.

    Args:
        value: a name in :data:`CURVES`; a callable ``turn -> factor``, such as those of :mod:`ppgen.schedules`, which
            may be given as text; a class of ``torch.optim.lr_scheduler``, as :class:`Named` takes one.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(value, Rates):
        return value
    if isinstance(value, str):
        return _of_text(value)
    kind = getattr(value, "func", value)
    if inspect.isclass(kind) and issubclass(kind, lr_scheduler.LRScheduler):
        return Scheduler.read(value)
    if not callable(value):
        raise UsageError(f"expected {_WHAT}, got {shown(value)}.")
    name = getattr(value, "__qualname__", type(value).__qualname__)
    text = str(value) if isinstance(value, Schedule) else f"{_OF_PYTHON}{value.__module__}.{name}"
    return Factors(text, functools.partial(_by_turn, value))


def _of_text(text: str) -> Rates:
    if text in CURVES:
        return CURVES[text]
    if text.startswith(_OF_PYTHON):
        return Factors(text, functools.partial(_forgotten, text))
    name = parse_call(text, _WHAT)[0]
    if name in _TORCHS:
        return Scheduler.read(text)
    if name in SCHEDULES and callable(schedule := parse_schedule(text)):
        return read_rates(schedule)
    raise UsageError(f"expected {_WHAT}, got {shown(text)}{nearest(name, NAMES)}")


def _by_turn(factor: Callable[[int], float], turn: int, total: int) -> float:
    return factor(turn)


def _forgotten(text: str, turn: int, total: int) -> float:
    raise UsageError(f"the schedule was a {text} of Python's: give it again.")
