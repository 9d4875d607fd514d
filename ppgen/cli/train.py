"""``ppgen train``: a model, a data set and an objective, to a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ppgen.cli.options import (
    DataName,
    DataSettings,
    Device,
    ModelName,
    ModelSettings,
    ObjectiveName,
    ObjectiveSettings,
    OptimizerName,
    Schedule,
    settings,
)
from ppgen.cli.output import say
from ppgen.cli.steering import CallbackFiles, CheckpointEvery, Log, WithProgress, watching
from ppgen.errors import UsageError
from ppgen.machine.ranks import stopping_together
from ppgen.objectives.objective import Objective
from ppgen.runs.job import Job
from ppgen.runs.run import CONFIG, Run
from ppgen.training.options import TrainingOptions

__all__ = ["BatchSize", "ClipNorm", "Eager", "Epochs", "Patience", "Rate", "Steps", "train"]

DEFAULTS = TrainingOptions()
Epochs = Annotated[
    int | None, typer.Option(help="Passes over the training data.", show_default=f"{DEFAULTS.epochs}, unless --steps")
]
Steps = Annotated[int | None, typer.Option(help="Turns of the loop, instead of --epochs.", show_default=False)]
BatchSize = Annotated[int, typer.Option(help="Data in a batch.")]
Rate = Annotated[float, typer.Option(help="Learning rate.")]
ClipNorm = Annotated[
    float | None, typer.Option(help="Largest norm of the gradient, per datum.", show_default="no limit")
]
Patience = Annotated[
    int | None,
    typer.Option(help="Stop after so many validations without a better bound.", show_default="never stop early"),
]
Seed = Annotated[int, typer.Option(help="Of the initial parameters and of training.")]
Eager = Annotated[bool, typer.Option("--eager", help="Do not compile the steps: no wait, but slower.")]
Precision = Annotated[str, typer.Option(help="Of matrix products: float32, tf32 (on GPUs that have it) or bf16.")]
Chunk = Annotated[
    int | None,
    typer.Option(help="Most log-weights (data times particles) in memory at a time.", show_default="as many as fit"),
]
Out = Annotated[Path | None, typer.Option(help="Directory of the run.", show_default="runs/MODEL-DATA-OBJECTIVE")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run that --out holds.")]


@stopping_together
def train(
    model: ModelName,
    data: DataName,
    objective: ObjectiveName,
    model_options: ModelSettings = None,
    objective_options: ObjectiveSettings = None,
    data_options: DataSettings = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch_size: BatchSize = DEFAULTS.batch_size,
    lr: Rate = DEFAULTS.lr,
    optimizer: OptimizerName = str(DEFAULTS.optimizer),
    schedule: Schedule = str(DEFAULTS.schedule),
    clip_norm: ClipNorm = DEFAULTS.clip_norm,
    patience: Patience = DEFAULTS.patience,
    seed: Seed = DEFAULTS.seed,
    device: Device = "auto",
    eager: Eager = False,
    precision: Precision = DEFAULTS.precision,
    chunk: Chunk = None,
    checkpoint_every: CheckpointEvery = None,
    callback: CallbackFiles = None,
    log: Log = None,
    progress: WithProgress = True,
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Train MODEL on a data set with an objective.

    The directory --out holds the run. Ctrl-C stops it, and the same command with --resume goes on with it, to the same
    bits as if it had not been stopped. Several processes train together under `torchrun -m ppgen train`.
    """
    options = TrainingOptions(
        **_length(epochs, steps),
        batch_size=batch_size,
        lr=lr,
        optimizer=optimizer,
        schedule=schedule,
        clip_norm=clip_norm,
        patience=patience,
        seed=seed,
        eager=eager,
        precision=precision,  # type: ignore[arg-type]  # checked there
        chunk=chunk,
        checkpoint_every=checkpoint_every,
    )
    job = Job(
        model=model,
        data=data,
        objective=objective,
        model_options=settings("-M", model_options),
        data_options=settings("-D", data_options),
        objective_options=settings("-O", objective_options),
        training=options,
        device=device,
    )
    folder = out or Path("runs", f"{model.rpartition(':')[2]}-{data}-{objective}")
    with _told_how_to_resume(folder):
        run = job.train(folder, resume=resume, progress=progress, callbacks=watching(callback, log))
    if run.directory is not None:  # another rank has it
        print(f"{run.data}.")
        print(_summary(run, f" --model {model}" if ".py:" in model else ""))


@contextmanager
def _told_how_to_resume(folder: Path) -> Iterator[None]:
    """Say, when Ctrl-C stops it, how training goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if (folder / CONFIG).exists():
            say(f"stopped; {folder} holds the run: go on with the same command and --resume.")
        raise


def _length(epochs: int | None, steps: int | None) -> dict[str, Any]:
    if epochs is not None and steps is not None:
        raise UsageError(f"--epochs {epochs} and --steps {steps} both set the length of training: give one of them.")
    return {name: value for name, value in (("epochs", epochs), ("steps", steps)) if value is not None}


def _summary(run: Run, again: str) -> str:
    """Where the run is, its last validation bound (or loss, of an objective that is no bound), and what to do next."""
    checked = [line for line in run.metrics if line["split"] == "valid"]
    result = _measured(checked[-1], run.objective) if checked else "trained"
    return f"{run.directory}: {result}; next: ppgen evaluate {run.directory}{again}"


def _measured(line: Mapping[str, Any], objective: Objective) -> str:
    what, players = "bound" if "bound" in line else "loss", objective.players()
    whose = f" of the {players[0].name}" if len(players) > 1 else ""
    unit = f" {objective.unit}" if objective.unit else ""
    return f"validation {what}{whose} {line[what]:.2f}{unit} after {line['step']} steps"
