"""``ppgen diagnose``: is a run's guide to be believed?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppgen.cli.options import AsJson, Device, ModelAgain, RunFolder, Which
from ppgen.cli.output import keep, print_json, print_table, stdout_kept_for
from ppgen.data.dataset import SPLITS
from ppgen.diagnostics.core import NUM_DATA, NUM_PARTICLES
from ppgen.runs.load import load

__all__ = ["diagnose"]


def diagnose(
    run: RunFolder,
    split: Annotated[
        str, typer.Option(metavar="|".join(SPLITS), help="Which data.", autocompletion=lambda: list(SPLITS))
    ] = "test",
    num_data: Annotated[
        int | None, typer.Option(help="The first so many data.", show_default=f"{NUM_DATA}, or the whole split")
    ] = None,
    particles: Annotated[int, typer.Option(help="Draws of the guide for each datum.")] = NUM_PARTICLES,
    ask: Annotated[
        list[str] | None,
        typer.Option(help="A question, as --json names it; as often as needed.", show_default="every one that arises"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Directory for diagnosis.json and posterior.nc.", show_default="the run's own")
    ] = None,
    which: Which = None,
    model: ModelAgain = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell whether a run's guide is to be believed, by numbers and a plain verdict.

    Each question that arises for such a model has a status, a number and the threshold it was held against, and what to
    do next. diagnosis.json keeps them; `ppgen report` shows them with plots. posterior.nc beside it has draws of the
    latents of the first 16 data, for ArviZ.
    """
    with stdout_kept_for(as_json):
        found = load(run, pair=model, which=which, device=device)
        result = found.diagnose(
            out,
            write=False,
            split=split,
            num_data=num_data,
            num_particles=particles,
            questions=ask,
            seed=seed,
            progress=True,
        )
    if as_json:
        print_json(result.to_json())
    else:
        print(f"{result.split}, {result.num_data:,} data: {result.sentence}")
        if result.left_out:
            print(result.left_out)
        print_table(("status", "question", ">number", ">threshold", "what was found"), result.rows())
        for finding in result.findings:
            if finding.advice:
                print(f"{finding.title} {finding.advice}")
    with stdout_kept_for(as_json):
        keep(found, result, out)
