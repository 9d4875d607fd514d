"""Steps on as much of a batch at a time as memory holds.

A step on B data with K particles each is made of B K log-weights. Where memory holds fewer, the step is taken in
chunks: at first of fewer data, and of fewer particles once it is down to one datum.

    data          the loss is a sum over data: its gradient is the mean of the parts', weighted by their sizes. The law
                  of the step is the same, its random numbers are others
    particles     run twice, with the exact gradient of the bound of all K (:mod:`ppgen.pairs.parts`). Those of a sum
                  over states are its states

What is no such sum (``Objective.splits_data``, ``Objective.splits_particles``), or whose data go together in the pair,
is not divided.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from ppgen.errors import UsageError, asked_for, is_out_of_memory
from ppgen.machine.memory import give_back
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import State
from ppgen.pairs.looking import goes_apart
from ppgen.pairs.pair import Pair
from ppgen.pairs.parts import check_kept
from ppgen.pairs.rows import is_divisible, num_rows, take_rows
from ppgen.pairs.tracing import Batch, automatic_guides
from ppgen.training.steps import StepFunction, StepResult

__all__ = ["Chunk", "Chunks", "by_data"]

T = TypeVar("T")


@dataclass(frozen=True)
class Chunk:
    """So many data, with so many particles each, at a time."""

    data: int
    particles: int

    def __str__(self) -> str:
        return f"B = {self.data} data with K = {self.particles} particles each"

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The batch in parts of at most so many data, whose sizes differ by at most one."""
        size = num_rows(batch)
        num = -(-size // self.data)
        edges = [size * part // num for part in range(num + 1)]
        return (batch if num == 1 else take_rows(batch, slice(start, end)) for start, end in pairwise(edges))


class Chunks:
    """How much of a batch is taken at a time: all, or ``most`` log-weights, or as many as have fitted so far.

    Args:
        pair: that is trained.
        objective: with its schedules.
        most: of the log-weights that are in memory at a time; None: all of a batch.
    """

    def __init__(self, pair: Pair, objective: Objective, most: int | None = None) -> None:
        self.pair, self.objective, self.most = pair, objective, most
        self._apart: dict[int, bool] = {}  # by how many arguments a batch has

    def of(self, batch: Batch, particles: int) -> Chunk:
        """The chunk of a batch for each of whose data there are so many particles."""
        size = num_rows(batch)
        if self.is_whole(size, particles):
            return Chunk(size, particles)
        most = self.most or 1
        data = max(1, most // particles) if self._divides(batch) else size
        return Chunk(data, min(particles, max(1, most // data)) if self.objective.splits_particles else particles)

    def is_whole(self, size: int, particles: int) -> bool:
        """Whether so many data with so many particles each are taken at once."""
        return self.most is None or size * particles <= self.most

    def check(self, batch: Batch, particles: int) -> None:
        """Check that a batch can be taken as was asked for.

        Raises:
            UsageError: neither its data nor its particles can be divided.
        """
        if not self.is_whole(num_rows(batch), particles) and self.of(batch, particles) == Chunk(
            num_rows(batch), particles
        ):
            raise UsageError(f"chunk = {self.most} asks for parts of a batch, and {self._why(batch)}: leave chunk out.")

    def fitting(
        self, batch: Batch, particles: int, run: Callable[[Chunk], T], again: Callable[[], None] = lambda: None
    ) -> T:
        """What ``run`` makes of a chunk that memory holds: half of one that it does not, until nothing can be divided.

        Args:
            batch: that is taken in chunks.
            particles: K.
            run: with the chunk; a function that changes nothing but torch's random numbers.
            again: called before each further try; puts these back.

        Raises:
            UsageError: memory does not hold the smallest chunk.
        """
        first = chunk = self.of(batch, particles)
        while True:
            try:
                found = run(chunk)
            except Exception as error:
                if not is_out_of_memory(error) or _is_captured():
                    raise
                smaller = self._halved(batch, particles, chunk, error)
            else:
                break
            chunk = smaller
            again()
            give_back()
        if chunk != first:
            warnings.warn(
                f"{Chunk(num_rows(batch), particles)} at once take more memory than there is: from here on they are "
                f"taken {chunk} at a time.",
                stacklevel=2,
            )
        return found

    def _halved(self, batch: Batch, particles: int, chunk: Chunk, error: Exception) -> Chunk:
        self.most = max(1, chunk.data * chunk.particles // 2)
        smaller = self.of(batch, particles)
        if smaller == chunk:
            parameters = sum(parameter.numel() for parameter in self.pair.parameters())
            raise UsageError(
                f"a step on {Chunk(num_rows(batch), particles)}, {chunk} at a time, of a pair with {parameters:,} "
                f"parameters takes more memory than there is{asked_for(error)}: lower batch_size or num_particles, "
                "make the pair smaller, or take a device with more memory; the last checkpoint stays."
            ) from error
        return smaller

    def _divides(self, batch: Batch) -> bool:
        """Whether the data of a batch may be taken some at a time."""
        if not self.objective.splits_data or num_rows(batch) == 1:
            return False
        if len(batch) not in self._apart:
            self._apart[len(batch)] = self._goes_apart(batch)
        return self._apart[len(batch)]

    def _goes_apart(self, batch: Batch) -> bool:
        """By a look at two of the data, unless the guide has parameters for each of them."""
        few = batch if automatic_guides(self.pair.guide) else take_rows(batch, slice(2))
        try:
            return is_divisible(batch, num_rows(batch)) and goes_apart(self.pair, few)
        except Exception as error:
            if is_out_of_memory(error):
                return False
            raise

    def _why(self, batch: Batch) -> str:
        """Why nothing is divided."""
        name = type(self.objective).__name__
        if num_rows(batch) == 1:
            return f"{name} takes the particles of a datum together"
        if not self.objective.splits_data:
            return f"the loss of {name} is no sum over data"
        return "the data of a batch go together in this pair"


def by_data(step: StepFunction, chunk: Chunk) -> StepFunction:
    """The step that takes a batch in parts, one after another: its loss per datum is the mean of theirs by their sizes.

    Raises:
        UsageError: when it is called: the pair keeps statistics of its batches, which those of parts are not.
    """

    def step_of_parts(
        owned: dict[str, Tensor], others: dict[str, Tensor], state: State, values: dict[str, Tensor], batch: Batch
    ) -> StepResult:
        sums: list[Tensor] = []
        for part in chunk.parts(batch):
            gradients, report, following, buffers = step(owned, others, state, values, part)
            check_kept(buffers, others)
            share, found = num_rows(part) / num_rows(batch), [*gradients, *report.values(), *following.values()]
            if sums:
                torch._foreach_add_(sums, found, alpha=share)
            else:
                sums = [share * tensor for tensor in found]
        left = iter(sums)
        named = ({name: next(left) for name in group} for group in (report, following))
        return [next(left) for _ in gradients], next(named), next(named), buffers

    return step_of_parts


def _is_captured() -> bool:
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
