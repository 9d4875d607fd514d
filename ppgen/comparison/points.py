"""The points of training at which objectives are compared, since estimators rank differently there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from ppgen.comparison.labels import named
from ppgen.comparison.options import INIT, TRAINED, Point
from ppgen.data import Dataset
from ppgen.errors import UsageError
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__ = ["Schooling", "left_as_it_was", "points_of_training"]

_STEPS = 1000


@dataclass(frozen=True)
class Schooling:
    """How the pair comes to its points of training: ``steps`` of each point, in rising order, and who trains it."""

    steps: Mapping[Point, int]
    data: Dataset | None
    objective: Any
    options: TrainingOptions

    @classmethod
    def of(
        cls,
        at: Sequence[Point],
        data: Dataset | None,
        trained_by: Any,
        options: TrainingOptions | None,
        objectives: Mapping[str, Any],
    ) -> Schooling:
        """The training that points ``at`` ask for.

        Raises:
            UsageError: they need data, or an objective of ours, and there are none; a point lies beyond the training.
        """
        furthest = max((point for point in at if isinstance(point, int)), default=0)
        if options is None:
            options = TrainingOptions(steps=furthest or _STEPS)
        elif options.steps is None:
            raise UsageError(
                "training for a comparison is counted in steps: give its TrainingOptions steps, not epochs."
            )
        total = options.steps or _STEPS
        named_points = {INIT: 0, TRAINED: total}
        if furthest > total:
            raise UsageError(
                f"a comparison was asked for after {furthest} steps of a training of {total}: give it more."
            )
        steps = {point: point if isinstance(point, int) else named_points[point] for point in at}
        ordered = dict(sorted(steps.items(), key=lambda item: item[1]))
        if not any(ordered.values()):
            return cls(ordered, data, None, options)
        if data is None:
            raise UsageError(f"points of training after the first ({list(at)}) need data to train on: give data.")
        ours = [one for one in objectives.values() if isinstance(one, Objective)]
        trainers = ours if trained_by is None else list(named([trained_by]).values())
        if not trainers:
            raise UsageError("none of the objectives is one that ppgen trains with: give trained_by.")
        return cls(ordered, data, trainers[0], replace(options, steps=total))


def points_of_training(pair: Pair, schooling: Schooling) -> Iterator[tuple[Point, int]]:
    """Each point and its step, with the pair trained so far, by random numbers that nothing in between has touched."""
    trainer, random = None, torch.get_rng_state()
    for point, step in schooling.steps.items():
        torch.set_rng_state(random)
        if step and trainer is None:
            torch.manual_seed(schooling.options.seed)
            assert schooling.data is not None  # Schooling.of saw to it
            trainer = Trainer(pair, schooling.data, schooling.objective, schooling.options)
        while trainer is not None and trainer.turn < step:
            trainer.take_turn()
        random = torch.get_rng_state()
        yield point, step


@contextmanager
def left_as_it_was(pair: Pair) -> Iterator[None]:
    """After it the pair has the parameters and buffers that it had."""
    kept = {name: value.clone() for name, value in pair.state_dict().items()}
    try:
        yield
    finally:
        pair.load_state_dict(kept)
