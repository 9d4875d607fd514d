"""MLflow, in its local file store: ``MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri RUN/mlflow``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ppgen.logging.logger import Logger, flat
from ppgen.training.callbacks import Training

__all__ = ["MLflow"]

_LONGEST = 500
"""Characters of a parameter, at most."""

_ENVIRONMENT = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""What MLflow is told where the user says nothing else: it wants to be asked for files, and would report its use."""

_DIRECTORY = "ppgen.directory"
"""The tag by which a run is found again."""


class MLflow(Logger):
    """A run of MLflow: the configuration as its parameters, and metrics by step.

    A run that is gone on with goes on there.

    Args:
        folder: the file store; see :class:`Logger`.
        experiment: its name there.
    """

    name: ClassVar[str] = "mlflow"
    library: ClassVar[str] = "mlflow"

    _client: Any = None
    _run: str | None = None

    def __init__(self, folder: str | Path | None = None, *, experiment: str = "ppgen") -> None:
        super().__init__(folder)
        self.experiment = experiment

    def open(self, folder: Path, training: Training) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=folder.as_uri())
        known = self._client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known else self._client.create_experiment(self.experiment)
        directory = training.directory or folder
        place = str(directory.absolute())
        found = self._client.search_runs([experiment], f"tags.`{_DIRECTORY}` = '{place}'", max_results=1)
        if training.step and found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        made = self._client.create_run(experiment, run_name=directory.name, tags={_DIRECTORY: place})
        self._run = made.info.run_id
        params = [Param(name, str(value)[:_LONGEST]) for name, value in flat(training.config).items()]
        self._client.log_batch(self._run, params=params)

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in numbers.items()])

    def close(self) -> None:
        if self._run is not None:
            self._client.set_terminated(self._run)
