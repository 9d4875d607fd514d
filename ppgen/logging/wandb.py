"""Weights & Biases, offline: files that ``wandb sync`` sends when the user asks it to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ppgen.logging.logger import Logger
from ppgen.training.callbacks import Training

__all__ = ["WandB"]

_ID = 16
"""Digits of a run's name there."""


class WandB(Logger):
    """A run of Weights & Biases that is written to files, and sent nowhere.

    A run that is gone on with is a second offline run of the same id, which ``wandb sync`` joins to the first.

    Args:
        folder: see :class:`Logger`.
        project: its name there.
    """

    name: ClassVar[str] = "wandb"
    library: ClassVar[str] = "wandb"

    _run: Any = None

    def __init__(self, folder: str | Path | None = None, *, project: str = "ppgen") -> None:
        super().__init__(folder)
        self.project = project

    def open(self, folder: Path, training: Training) -> None:
        import wandb

        directory = training.directory or folder
        self._run = wandb.init(
            mode="offline",
            dir=str(folder),
            project=self.project,
            name=directory.name,
            id=hashlib.sha256(str(directory.absolute()).encode()).hexdigest()[:_ID],
            config=json.loads(json.dumps(training.config, default=str)),
            settings=wandb.Settings(console="off", silent=True),
        )

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
