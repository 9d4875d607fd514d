"""How a run is trained: the options of ``ppgen.fit`` and ``ppgen train``, checked in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import PlainValidator

from ppgen.arguments import Count, NonNegative, Positive, check_fields
from ppgen.errors import UsageError
from ppgen.machine.precision import Precision
from ppgen.training.optimizers import Optimizer
from ppgen.training.rates import read_rates

__all__ = ["TrainingOptions", "over"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of training.

    Args:
        epochs: passes over the training data; give this or ``steps``.
        steps: turns (for most objectives: gradient steps); overrides ``epochs``.
        batch_size: B; all data are given in their own order where they are no more than B.
        lr: the learning rate.
        optimizer: Adam, AdamW, SGD, RMSprop or Adagrad: the class of ``torch.optim``, a ``functools.partial`` of it
            with options, or the same as text, ``"SGD(momentum=0.9, weight_decay=1e-4)"``.
        schedule: of the learning rate over the run: ``"constant"``; ``"cosine"``, to zero; a callable from the turn to
            a factor, such as ``ppgen.schedules.linear(1, 0.1, 1000)``; a class of ``torch.optim.lr_scheduler`` or a
            ``functools.partial`` of it, which is stepped once a turn. All but callables of your own may be text.
        clip_norm: largest Euclidean norm of the gradient of the loss per datum; None: no limit.
        patience: stop when the mean of the last ``window`` validation bounds has not risen for so many
            validations, and keep the parameters of the best; None: never stop early. It needs validation data.
        window: see ``patience``.
        validate_every: turns between validations, or reports where nothing is held out; None: an epoch, and at least
            100 turns.
        checkpoint_every: turns between two checkpoints; None: after a validation, once ``checkpoint_seconds`` are over.
        checkpoint_seconds: least time between two checkpoints; see there.
        seed: of everything random in training.
        eager: do not compile the steps.
        precision: of the matrix products of steps, ``"float32"``, ``"tf32"`` (on GPUs that have it) or ``"bf16"``; all
            else, and all evaluation, is in float32 (:mod:`ppgen.machine.precision`).
        chunk: of a step's log-weights, data times particles, at most so many are in memory at a time
            (:mod:`ppgen.training.chunks`); None: all, or as many as fit.

    >>> options = TrainingOptions(lr=0.1, schedule="linear(1, 0, 1000)")
    >>> options.rate(500, total=1000)
    0.05
    """

    epochs: Count = 100
    steps: Count | None = None
    batch_size: Count = 20
    lr: Positive = 1e-3
    optimizer: Annotated[Any, PlainValidator(Optimizer.read)] = "Adam"
    schedule: Annotated[Any, PlainValidator(read_rates)] = "cosine"
    clip_norm: Positive | None = None
    patience: Count | None = None
    window: Count = 5
    validate_every: Count | None = None
    checkpoint_every: Count | None = None
    checkpoint_seconds: NonNegative = 10.0
    seed: Annotated[int, Ge(0)] = 0
    eager: bool = False
    precision: Precision = "float32"
    chunk: Count | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def rate(self, turn: int, total: int) -> float:
        """The learning rate at a turn of ``total``.

        Raises:
            UsageError: the schedule gives none there.
        """
        try:
            found = float(self.schedule.at(self.lr, min(turn, total), total))
        except UsageError:
            raise
        except Exception as error:  # whatever a callable raises, or a scheduler that was given other options
            raise UsageError(f"schedule {self.schedule} has no learning rate at step {turn}: {error}.") from error
        if not 0 <= found < math.inf:
            raise UsageError(f"the learning rate must be 0 or more, and schedule {self.schedule} gives {found}.")
        return found

    def to_json(self) -> dict[str, Any]:
        """The options as ``config.json`` holds them, optimizer and schedule as text."""
        return {**vars(self), "optimizer": str(self.optimizer), "schedule": str(self.schedule)}


def over(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of training, those given in the place of those of ``base``; a length, whichever, in that of a length.

    >>> over({"epochs": 3, "lr": 0.1}, {"steps": 10})
    {'lr': 0.1, 'steps': 10}
    """
    lengths = {"epochs", "steps"}
    superseded = lengths if lengths & given.keys() else set()
    return {**{name: value for name, value in base.items() if name not in superseded}, **given}
