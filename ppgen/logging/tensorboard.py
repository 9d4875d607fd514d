"""TensorBoard: event files, ``tensorboard --logdir RUN``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ppgen.logging.logger import Logger
from ppgen.training.callbacks import Training

__all__ = ["TensorBoard"]


class TensorBoard(Logger):
    """Scalars, and the configuration as text, by ``torch.utils.tensorboard``.

    A run that is gone on with has another event file, in which what an earlier one says of later steps is taken back.
    """

    name: ClassVar[str] = "tensorboard"
    library: ClassVar[str] = "tensorboard"

    _writer: Any = None

    def open(self, folder: Path, training: Training) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = training.step + 1 if training.step else None
        self._writer = SummaryWriter(str(folder), purge_step=purge)
        config = json.dumps(training.config, indent=2, default=str)
        self._writer.add_text("config", "\n".join(f"    {line}" for line in config.splitlines()), training.step)

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
