"""``ppgen train``: a model, a data set and an objective, to a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ppgen.cli.options import (
    DataOrNone,
    DataSettings,
    Device,
    ModelOrNone,
    ModelSettings,
    ObjectiveSettings,
    complete_objective,
    settings,
    short_name,
)
from ppgen.cli.steering import CallbackFiles, Log, WithProgress, watching
from ppgen.cli.training import takes_training, told_how_to_resume
from ppgen.machine.ranks import stopping_together
from ppgen.objectives.objective import Objective
from ppgen.recipes.reading import read_settings
from ppgen.runs.job import Job
from ppgen.runs.run import CONFIG, Run
from ppgen.runs.settings import Settings
from ppgen.user_code import file_and_name

__all__ = ["train"]


@stopping_together
@takes_training
def train(
    model: ModelOrNone = None,
    data: DataOrNone = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            metavar="NAME",
            help="A name of `ppgen list objectives`.",
            autocompletion=complete_objective,
            show_default="what is recommended for the model on such data, with its options",
        ),
    ] = None,
    model_options: ModelSettings = None,
    objective_options: ObjectiveSettings = None,
    data_options: DataSettings = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What the line does not say: the config.json of a run, a recipe, or a TOML or JSON file like them.",
            show_default=False,
        ),
    ] = None,
    *,
    training: Mapping[str, Any],
    device: Device = "auto",
    callback: CallbackFiles = None,
    log: Log = None,
    progress: WithProgress = True,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the run.", show_default="runs/MODEL-DATA-OBJECTIVE")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that --out holds.")] = False,
) -> None:
    """Train MODEL on a data set with an objective.

    The directory --out holds the run. Ctrl-C stops it, and the same command with --resume goes on with it, to the same
    bits as if it had not been stopped. Several processes train together under `torchrun -m ppgen train`.
    """
    line = Settings(
        model=model,
        data=data,
        objective=objective,
        model_options=settings("-M", model_options),
        data_options=settings("-D", data_options),
        objective_options=settings("-O", objective_options),
        training=training,
    )
    job = (line if config is None else line.over(read_settings(config))).job(device)
    folder = out or Path("runs", _name(job))
    with told_how_to_resume(folder / CONFIG):
        run = job.train(folder, resume=resume, progress=progress, callbacks=watching(callback, log))
    if run.directory is not None:  # another rank has it
        print(f"{run.data}.")
        named = (("--model", job.model), ("--data", job.data))
        print(_summary(run, "".join(f" {flag} {name}" for flag, name in named if file_and_name(name))))


def _name(job: Job) -> str:
    """Of a run's folder."""
    objective = [] if job.objective is None else [job.objective.rpartition(":")[2]]
    return "-".join([short_name(job.model), short_name(job.data), *objective])


def _summary(run: Run, again: str) -> str:
    """Where the run is, its last validation bound (or loss, of an objective that is no bound), and what to do next."""
    checked = [line for line in run.metrics if line["split"] == "valid"]
    result = _measured(checked[-1], run.stage) if checked else "trained"
    return f"{run.directory}: {result}; next: ppgen evaluate {run.directory}{again}"


def _measured(line: Mapping[str, Any], objective: Objective) -> str:
    what, players = "bound" if "bound" in line else "loss", objective.players()
    whose = f" of the {players[0].name}" if len(players) > 1 else ""
    unit = f" {objective.unit}" if objective.unit else ""
    return f"validation {what}{whose} {line[what]:.2f}{unit} after {line['step']} steps"
