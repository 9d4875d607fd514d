"""Which of several estimators of one bound a training plays: measured at the pair as it is, now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ppgen.machine.seeds import derived, manual_seed
from ppgen.measuring.repeats import Draw, gather
from ppgen.objectives.choosing import Choosing
from ppgen.objectives.objective import Objective

__all__ = ["Choice", "Chooser", "GradientOf"]

_ROUNDS = 8
"""Gradients of each by which seconds are measured."""

GradientOf = Callable[[int, int], Mapping[str, Tensor]]
"""The pair's gradient by an estimator (its number) at the batch that is so many turns ahead, by parameter."""


@dataclass(frozen=True)
class Choice:
    """One measurement by estimator: ``work``, the root mean square of a gradient x its seconds, and ``variance``; and
    the name of the one that is ``played`` now."""

    work: Mapping[str, float]
    variance: Mapping[str, float]
    played: str


class Chooser:
    """Chooses for an objective that holds several (:class:`ppgen.objectives.choosing.Choosing`); for others nothing.

    Args:
        objective: of the training.
        gradient_of: what it is measured by; nothing moves.
        seed: of the measurements' random numbers, which are not those of training.

    Attributes:
        chosen: the number of the estimator that is played.
        seconds: of a gradient of each, from its first measurement; empty before it.
        news: the measurement before this turn, if there was one.
    """

    def __init__(self, objective: Objective, gradient_of: GradientOf, seed: int) -> None:
        self.rule = objective if isinstance(objective, Choosing) else None
        self.gradient_of, self.seed = gradient_of, seed
        self.chosen, self.seconds, self._made = 0, list[float](), set[int]()
        self.news: Choice | None = None

    @property
    def fixed(self) -> dict[str, int]:
        """What moves are made with, for each value of which there is a graph."""
        return {} if self.rule is None else {"chosen": self.chosen}

    def look(self, turn: int) -> None:
        """Measure before a turn of the stage, where it is due."""
        self.news = None
        if self.rule is not None and turn % self.rule.every == 0:
            self.news = self._measured(self.rule, turn)

    def _measured(self, rule: Choosing, turn: int) -> Choice:
        numbers = range(len(rule.rules))
        with torch.random.fork_rng():
            for number in numbers:
                if number not in self._made:
                    self.gradient_of(number, 0)  # makes its graph
            self._made.update(numbers)
            self.seconds = self.seconds or self._timed(numbers)  # a run that goes on has those of before
        squares, variances = zip(*(self._drawn(number, rule.draws, turn) for number in numbers), strict=True)
        work = [math.sqrt(square) * each for square, each in zip(squares, self.seconds, strict=True)]
        self.chosen = least(work, self.chosen, rule.hysteresis)
        names = rule.names
        return Choice(dict(zip(names, work, strict=True)), dict(zip(names, variances, strict=True)), names[self.chosen])

    def _timed(self, numbers: Sequence[int]) -> list[float]:
        """The seconds of the quickest gradient of each, taken in turns: what else a machine does meets all of them."""
        sources = [_Ahead(partial(self.gradient_of, number)) for number in numbers]
        rounds = [[source.draw().seconds for source in sources] for _ in range(_ROUNDS)]
        return [min(found) for found in zip(*rounds, strict=True)]

    def _drawn(self, number: int, draws: int, turn: int) -> tuple[float, float]:
        """The mean square of a gradient over batches and draws, and its variance."""
        with torch.random.fork_rng():
            source = _Ahead(partial(self.gradient_of, number))
            manual_seed(derived(self.seed, "choice", turn))
            found = gather(source, draws, 1)
        moments = found.moments(list(found.means))
        return float(moments.squares.mean()), moments.variance(0.5).value


class _Ahead:
    """Gradients at the batches that come next, in turn."""

    def __init__(self, gradient_at: Callable[[int], Mapping[str, Tensor]]) -> None:
        self.gradient_at, self.ahead = gradient_at, 0

    def draw(self) -> Draw:
        start = time.perf_counter()
        gradients = self.gradient_at(self.ahead)
        if next(iter(gradients.values())).is_cuda:
            torch.cuda.synchronize()
        self.ahead += 1
        return Draw(gradients, 0.0, time.perf_counter() - start)


def least(work: Sequence[float], now: int, hysteresis: float) -> int:
    """The number of the least work, or the one of now where the least saves no more than that share of its work.

    >>> least([1.0, 0.95], now=0, hysteresis=0.1), least([1.0, 0.8], now=0, hysteresis=0.1)
    (0, 1)
    """
    best = min(range(len(work)), key=work.__getitem__)
    return best if work[best] < (1 - hysteresis) * work[now] else now
