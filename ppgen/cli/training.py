"""What commands that train share: the options of training, and what is said when Ctrl-C stops them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from ppgen.cli.options import OptimizerOrNone, ScheduleOrNone
from ppgen.cli.output import say
from ppgen.errors import UsageError
from ppgen.training.options import TrainingOptions

__all__ = ["takes_training", "told_how_to_resume"]

DEFAULTS = TrainingOptions()

OPTIONS: Mapping[str, Any] = {
    "epochs": Annotated[
        int | None,
        typer.Option(help="Passes over the training data.", show_default=f"{DEFAULTS.epochs}, unless --steps"),
    ],
    "steps": Annotated[int | None, typer.Option(help="Turns of the loop, instead of --epochs.", show_default=False)],
    "batch_size": Annotated[int | None, typer.Option(help="Data in a batch.", show_default=str(DEFAULTS.batch_size))],
    "lr": Annotated[float | None, typer.Option(help="Learning rate.", show_default=str(DEFAULTS.lr))],
    "optimizer": OptimizerOrNone,
    "schedule": ScheduleOrNone,
    "clip_norm": Annotated[
        float | None, typer.Option(help="Largest norm of the gradient, per datum.", show_default="no limit")
    ],
    "patience": Annotated[
        int | None,
        typer.Option(help="Stop after so many validations without a better bound.", show_default="never stop early"),
    ],
    "seed": Annotated[
        int | None,
        typer.Option(help="Of the initial parameters and of training.", show_default=str(DEFAULTS.seed)),
    ],
    "eager": Annotated[
        bool | None,
        typer.Option(
            "--eager/--no-eager", help="Do not compile the steps: no wait, but slower.", show_default="no-eager"
        ),
    ],
    "precision": Annotated[
        str | None,
        typer.Option(
            help="Of matrix products: float32, tf32 (on GPUs that have it) or bf16.", show_default=DEFAULTS.precision
        ),
    ],
    "chunk": Annotated[
        int | None,
        typer.Option(
            help="Most log-weights (data times particles) in memory at a time.", show_default="as many as fit"
        ),
    ],
    "checkpoint_every": Annotated[
        int | None,
        typer.Option(help="Turns between checkpoints.", show_default="after a validation, ten seconds apart"),
    ],
}
"""Those of :class:`ppgen.training.options.TrainingOptions` that can be set on a line."""


def takes_training(command: Callable[..., None]) -> Callable[..., None]:
    """The command with :data:`OPTIONS` in the place of its argument ``training``, which is a dict of those on the line.

    An option that the command has itself is its own.
    """
    signature = inspect.signature(command, eval_str=True)
    shared = {name: kind for name, kind in OPTIONS.items() if name not in signature.parameters}
    added = [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind) for name, kind in shared.items()]

    @functools.wraps(command)
    def entered(**arguments: Any) -> None:
        given = {name: value for name in shared if (value := arguments.pop(name)) is not None}
        _check_length(given)
        command(**arguments, training=given)

    parameters = [
        each for own in signature.parameters.values() for each in (added if own.name == "training" else [own])
    ]
    entered.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what Typer reads
    return entered


def _check_length(given: Mapping[str, Any]) -> None:
    if {"epochs", "steps"} <= given.keys():
        raise UsageError(
            f"--epochs {given['epochs']} and --steps {given['steps']} both set the length of training: give one of "
            "them."
        )


@contextmanager
def told_how_to_resume(file: Path, what: str = "the run") -> Iterator[None]:
    """Say, when Ctrl-C stops it, how the command goes on.

    Args:
        file: without which there is nothing to go on with, in the folder that holds ``what``.
        what: in words.
    """
    try:
        yield
    except KeyboardInterrupt:
        if file.exists():
            say(f"stopped; {file.parent} holds {what}: go on with the same command and --resume.")
        raise
