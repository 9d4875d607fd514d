"""The step functions of a training, each made when it is first needed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ppgen.errors import UsageError, first_sentence, is_out_of_memory, users_line
from ppgen.machine.memory import large_blocks_apart
from ppgen.machine.precision import allowing_tf32
from ppgen.objectives.objective import Objective
from ppgen.pairs.tracing import Batch
from ppgen.training.books import Move
from ppgen.training.choices import Choices
from ppgen.training.chunks import Chunk, Chunks, by_data
from ppgen.training.learner import Learner
from ppgen.training.options import TrainingOptions
from ppgen.training.steps import StepFunction, StepResult, compiled, player_step

__all__ = ["Steps"]


class Steps:
    """One step function for each player, part of the data, and shape of batch: a graph is made for one structure.

    Args:
        learner: whose players move.
        objective: with its schedules.
        draws: of each part of the data, what is done to a batch each time it is shown.
        examples: a batch of each part.
        chunks: how much of a batch is taken at a time.
        options: of the training: ``eager``, ``precision``.
    """

    def __init__(
        self,
        learner: Learner,
        objective: Objective,
        draws: Sequence[Callable[[Batch], Batch]],
        examples: Sequence[Batch],
        chunks: Chunks,
        options: TrainingOptions,
    ) -> None:
        self.learner, self.objective, self.draws, self.chunks = learner, objective, draws, chunks
        self.examples = examples
        self.precision = options.precision
        self.choices = Choices()
        self.compiling = 0.0
        """Seconds that were spent on compiling, so far."""
        why = "" if options.eager else objective.why_eager
        moves = any(player.owns for player in objective.players())
        eager = options.eager or bool(why) or not moves  # without a gradient a step is not worth its compilation
        self._eager = set(range(len(draws))) if eager else set()  # parts whose steps are not compiled
        if why:
            warnings.warn(f"this pair trains eagerly, because {why}.", stacklevel=2)
        self._made: dict[Any, StepFunction] = {}
        self._num_particles: dict[Any, int] = {}

    def compiles(self, move: Move) -> bool:
        """Whether a move is one compiled graph."""
        return move.part not in self._eager and self._is_whole(move)

    def take(self, move: Move, arguments: tuple[Any, ...], again: Callable[[], None]) -> StepResult:
        """What the player's step function gives of its arguments, as much of the batch at a time as memory holds.

        Args:
            move: which player, of which part, at which values of the schedules.
            arguments: see :mod:`ppgen.training.steps`; the batch is the last.
            again: puts random numbers back before another try.

        Raises:
            UsageError: memory does not hold the smallest chunk; see :meth:`Chunks.fitting`.
        """

        def run(chunk: Chunk) -> StepResult:
            def step(*arguments: Any) -> StepResult:
                return self._step(move, chunk.particles, arguments)(*arguments)

            return (step if self._is_whole(move) else by_data(step, chunk))(*arguments)

        with allowing_tf32(self.precision):
            return self.chunks.fitting(arguments[-1], self._particles(move), run, again)

    def _particles(self, move: Move) -> int:
        """How many of each datum a move is made of."""
        key = (move.part, *move.fixed.items())
        if key not in self._num_particles:
            program, example = self.learner.program, self.examples[move.part]
            self._num_particles[key] = self.objective.holding(move.fixed).particles_at(program, example)
        return self._num_particles[key]

    def _is_whole(self, move: Move) -> bool:
        """Whether a move takes its batch at once."""
        return self.chunks.is_whole(len(move.rows), self._particles(move))

    def _step(self, move: Move, particles: int, arguments: tuple[Any, ...]) -> StepFunction:
        """One that takes some particles at a time is no graph: they are run again from their seeds."""
        shapes = ((entry.shape, entry.dtype) for entry in arguments[-1])
        key = (move.player.name, *move.fixed.items(), move.part, particles, *shapes)
        if key not in self._made:
            objective = self.objective.holding(move.fixed).taking(particles)
            step = player_step(self.learner, objective, move.player, self.draws[move.part], self.precision)
            eager = move.part in self._eager or particles < self._particles(move)
            self._made[key] = step if eager else self._compiled(step, move.part, arguments)
        return self._made[key]

    def _compiled(self, step: StepFunction, part: int, arguments: tuple[Any, ...]) -> StepFunction:
        start = time.perf_counter()
        try:
            with large_blocks_apart():
                return compiled(step, *arguments, choices=self.choices)
        except UsageError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self._eager.add(part)
            where = ": ".join(filter(None, (users_line(error), first_sentence(error))))
            warnings.warn(
                f"this pair trains eagerly, because its step cannot be traced to one graph: {where}", stacklevel=2
            )
            return step
        finally:
            self.compiling += time.perf_counter() - start
