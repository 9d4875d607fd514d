"""``ppgen sweep``: a run for each cell of a grid and each seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ppgen.cli.options import (
    AsJson,
    DataName,
    DataSettings,
    Device,
    Engines,
    ModelName,
    ModelSettings,
    ObjectiveSettings,
    Threads,
    Workers,
    complete_objective,
    settings,
    short_name,
)
from ppgen.cli.output import print_json, print_table, say, stdout_kept_for
from ppgen.cli.times import seconds_of
from ppgen.cli.training import takes_training, told_how_to_resume
from ppgen.data.dataset import SPLITS
from ppgen.machine.engines import engine_of
from ppgen.sweeps.core import PAGE, RESULT, sweep_in
from ppgen.sweeps.grid import parse_grid
from ppgen.sweeps.page import columns, row
from ppgen.sweeps.plan import SweepPlan
from ppgen.sweeps.result import Sweep

__all__ = ["sweep"]


@takes_training
def sweep(
    model: ModelName,
    data: DataName,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            metavar="NAME",
            help="A name of `ppgen list objectives`, or in the grid several.",
            autocompletion=complete_objective,
            show_default=False,
        ),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="OPTION=VALUE,VALUE",
            help="Values of an option, as often as needed: of training lr=1e-3,3e-3; of the model M.latent_dim=5,10; "
            "of the objective O.num_particles=1,5; of the data D.binarize=none; objective=elbo,iwelbo.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each cell of the grid.")] = SweepPlan.seeds,
    model_options: ModelSettings = None,
    objective_options: ObjectiveSettings = None,
    data_options: DataSettings = None,
    *,
    training: Mapping[str, Any],
    seed: Annotated[int, typer.Option(help="The first of the seeds.")] = SweepPlan.seed,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(SPLITS),
            help="The data whose log p(x) judges the runs.",
            show_default="valid, where some are held out",
            autocompletion=lambda: list(SPLITS),
        ),
    ] = None,
    particles: Annotated[int, typer.Option(help="K of the bound on log p(x).")] = SweepPlan.particles,
    num_data: Annotated[
        int | None, typer.Option(help="Judge by the first so many data.", show_default="the whole split")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="90s|30m|2h", help="Time of the whole, after which no run is begun.", show_default="no limit"
        ),
    ] = None,
    workers: Workers = None,
    threads: Threads = None,
    engine: Engines = "local",
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Directory of the sweep.", show_default="runs/MODEL-DATA-sweep")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the sweep that --out holds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train MODEL for every cell of a grid of options and every seed, and say which cell is best.

    Each run is trained as by `ppgen train` and judged as by `ppgen evaluate`, in a folder of its own. What fails is
    reported, and the rest goes on; --resume goes on with what is not done. The exit code is 1 if no run is done.
    """
    plan = SweepPlan(
        model=model,
        data=data,
        objective=objective,
        model_options=settings("-M", model_options),
        data_options=settings("-D", data_options),
        objective_options=settings("-O", objective_options),
        training=training,
        grid=parse_grid(grid or ()),
        seeds=seeds,
        seed=seed,
        split=split,
        particles=particles,
        num_data=num_data,
        device=device,
    )
    folder, seconds = out or Path("runs", f"{short_name(model)}-{short_name(data)}-sweep"), seconds_of(budget)
    with stdout_kept_for(as_json), told_how_to_resume(folder / RESULT, "the runs that are done"):
        where = engine_of(engine, workers, threads, gpus=device != "cpu")
        found = sweep_in(folder, plan, where, resume=resume, budget=seconds, progress=True)
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)
    for sentence in found.missing:
        say(f"warning: {sentence}")
    raise typer.Exit(0 if found.num_done else 1)


def _print(found: Sweep) -> None:
    num = len(found.plan["grid"])
    heads = [f">{head}" if num < index < num + 4 else head for index, head in enumerate(columns(found))]
    print_table(heads, (row(cell, found) for cell in found.ranked))
    print(f"\n{found.verdict}\n")
    print(found.directory / PAGE)
