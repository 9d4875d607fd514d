"""Loggers by their names."""

from __future__ import annotations

from collections.abc import Sequence

from ppgen.arguments import one_of
from ppgen.logging.logger import Logger
from ppgen.logging.mlflow import MLflow
from ppgen.logging.tensorboard import TensorBoard
from ppgen.logging.wandb import WandB

__all__ = ["LOGGERS", "make_loggers"]

LOGGERS: dict[str, type[Logger]] = {kind.name: kind for kind in (TensorBoard, MLflow, WandB)}
"""By name. To add a logger: write its class in a file of this folder, its extra in ``pyproject.toml``, and list it."""


def make_loggers(names: Sequence[str]) -> list[Logger]:
    """The loggers of these names, each once.

    Raises:
        UsageError: a name is unknown, or its library is not installed.

    >>> make_loggers(["tensorbord"])
    Traceback (most recent call last):
    ppgen.errors.UnknownNameError: expected the name of a logger, got 'tensorbord': did you mean 'tensorboard'? ...
    """
    for name in names:
        one_of("expected the name of a logger, got", name, LOGGERS)
    return [LOGGERS[name]() for name in dict.fromkeys(names)]
