"""How a run is trained: the options of ``ppgen.fit`` and ``ppgen train``, checked in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ppgen.arguments import Count, NonNegative, Positive, check_fields

__all__ = ["TrainingOptions"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of training.

    Args:
        epochs: passes over the training data; give this or ``steps``.
        steps: turns (for most objectives: gradient steps); overrides ``epochs``.
        batch_size: B; all data are given in their own order where they are no more than B.
        lr: Adam's learning rate.
        schedule: of the learning rate over the run, ``"constant"`` or ``"cosine"`` (to zero).
        clip_norm: largest Euclidean norm of the gradient of the loss per datum; None: no limit.
        patience: stop when the mean of the last ``window`` validation bounds has not risen for so many
            validations, and keep the parameters of the best; None: never stop early. It needs validation data.
        window: see ``patience``.
        validate_every: turns between validations, or reports where nothing is held out; None: an epoch, and at least
            100 turns.
        checkpoint_seconds: least time between two checkpoints (they are written after validations).
        seed: of everything random in training.
        eager: do not compile the steps.
    """

    epochs: Count = 100
    steps: Count | None = None
    batch_size: Count = 20
    lr: Positive = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    clip_norm: Positive | None = None
    patience: Count | None = None
    window: Count = 5
    validate_every: Count | None = None
    checkpoint_seconds: NonNegative = 10.0
    seed: int = 0
    eager: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    def rate(self, turn: int, total: int) -> float:
        """The learning rate at a turn of ``total``."""
        return self.lr if self.schedule == "constant" else self.lr * 0.5 * (1 + math.cos(math.pi * turn / total))
