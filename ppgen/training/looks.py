"""Looks at a pair between the steps of its training, which change nothing of it, in as much memory as there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import State
from ppgen.pairs.looking import looking
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import swapped
from ppgen.pairs.tracing import Batch
from ppgen.training.chunks import Chunk, Chunks
from ppgen.training.learner import Learner

__all__ = ["Looks"]

T = TypeVar("T")


class Looks:
    """Looks at a pair by an objective.

    Args:
        pair: that is trained.
        objective: with its schedules.
    """

    def __init__(self, pair: Pair, objective: Objective) -> None:
        self.objective, self.chunks = objective, Chunks(pair, objective)

    def at_first(self, batch: Batch, look: Callable[[Batch, Objective], T]) -> T:
        """A look at a batch and at the objective as it begins, or at as many data and particles as memory holds."""
        now = self.objective.at(0)

        def at_once(chunk: Chunk) -> T:
            return look(next(chunk.parts(batch)), now.taking(chunk.particles))

        return self.chunks.fitting(batch, now.total_particles, at_once)

    def judged(
        self, learner: Learner, turn: int, state: State, batches: Iterable[Batch], num_data: int, seed: int
    ) -> dict[str, float]:
        """The first player's loss and metrics after ``turn`` turns, per datum, over batches of ``num_data`` in all.

        In ``eval()``, from ``seed``.
        """
        objective = self.objective.at(turn)
        sums: dict[str, float] = {}
        buffers = {name: value.clone() for name, value in learner.named_buffers()}  # those of training stay
        with looking(learner, seed), swapped(learner, buffers):
            for batch in batches:
                play = partial(_played, learner, objective, state, batch)
                particles = objective.particles_at(learner.program, batch)
                for name, value in self.chunks.fitting(batch, particles, play).items():
                    sums[name] = sums.get(name, 0.0) + value / num_data
        return sums


def _played(learner: Learner, objective: Objective, state: State, batch: Batch, chunk: Chunk) -> dict[str, float]:
    """The first player's loss and metrics, summed over the data of a batch."""
    now, sums = objective.taking(chunk.particles), defaultdict[str, float](float)
    for part in chunk.parts(batch):
        outcome = now.play(now.players()[0].name, learner.program, part, state)
        for name, value in {"loss": outcome.loss / outcome.num_data, **outcome.metrics}.items():
            sums[name] += float(value) * len(part[0])
    return sums
