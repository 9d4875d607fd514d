"""``ppgen diagnose``: is a run's guide to be believed?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ppgen.cli.options import AsJson, DataMoved, Device, ModelAgain, RunFolder, Which
from ppgen.cli.output import keep, print_json, print_table, say, stdout_kept_for
from ppgen.cli.times import seconds_of
from ppgen.data.dataset import SPLITS
from ppgen.diagnostics.core import NUM_DATA, NUM_PARTICLES
from ppgen.diagnostics.result import Diagnosis
from ppgen.runs.directory import DIAGNOSIS
from ppgen.runs.load import load
from ppgen.runs.run import Run

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
    budget: Annotated[
        str | None,
        typer.Option(help="Most time for a question, such as 90s, 5m or 1h.", show_default="as long as it takes"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Directory for diagnosis.json and posterior.nc.", show_default="the run's own")
    ] = None,
    which: Which = None,
    model: ModelAgain = None,
    data: DataMoved = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell whether a run's guide is to be believed, by numbers and a plain verdict.

    Each question that arises for such a model has a status, a number and the threshold it was held against, and what to
    do next. diagnosis.json keeps them, each from when it was given; `ppgen report` shows them with plots. posterior.nc
    beside it has draws of the latents of the first 16 data, for ArviZ. A question that fails has no answer and says
    why; --debug shows where.
    """
    seconds = seconds_of(budget)
    with stdout_kept_for(as_json):
        found = load(run, pair=model, data=data, which=which, device=device)
        with _kept(found, out) as keep_so_far:
            result = found.diagnose(
                out,
                write=False,
                split=split,
                num_data=num_data,
                num_particles=particles,
                questions=ask,
                budget=seconds,
                keep=keep_so_far,
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
        keep(found, result, out)  # last: a full disk takes no finding away


@contextmanager
def _kept(run: Run, out: Path | None) -> Iterator[Callable[[Diagnosis], None]]:
    """What writes the answers down as they come; Ctrl-C says where those are that were given."""
    given = 0

    def keep_so_far(found: Diagnosis) -> None:
        nonlocal given
        run.keep_so_far(found, out)
        given = len(found)

    try:
        yield keep_so_far
    except KeyboardInterrupt:
        say(f"stopped; {(out or run.directory or Path()) / DIAGNOSIS} holds the {given} answers that were given.")
        raise
