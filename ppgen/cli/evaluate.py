"""``ppgen evaluate``: the test log-likelihood of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from ppgen.cli.options import AsJson, Device, ModelAgain, RunFolder
from ppgen.cli.output import print_json, print_table, stdout_kept_for
from ppgen.data.dataset import SPLITS
from ppgen.evaluation import Evaluation
from ppgen.runs import load

__all__ = ["evaluate"]


def evaluate(
    run: RunFolder,
    split: Annotated[
        str, typer.Option(metavar="|".join(SPLITS), help="Which data.", autocompletion=lambda: list(SPLITS))
    ] = "test",
    particles: Annotated[int, typer.Option(help="K of the bound: the larger, the tighter.")] = 1000,
    num_data: Annotated[
        int | None, typer.Option(help="Only the first so many data.", show_default="the whole split")
    ] = None,
    model: ModelAgain = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Estimate the log-likelihood of a run's data by the K-sample bound.

    Its mean over data, in nats, with its standard error, and its curve over K; evaluation.json in the run keeps them.
    """
    with stdout_kept_for(as_json):
        found = load(run, pair=model, device=device)
        result = found.evaluate(split=split, particles=particles, num_data=num_data, progress=True)
    if as_json:
        print_json(result.to_json())
    else:
        rows = [(f"{p.num_particles:,}", f"{p.log_likelihood:.3f}", f"{p.standard_error:.3f}") for p in result.curve]
        print(_headline(result))
        print_table((">K", ">log-likelihood", ">standard error"), rows)


def _headline(result: Evaluation) -> str:
    bits = "" if result.bits_per_dim is None else f", {result.bits_per_dim:.3f} bits per dimension"
    return (
        f"{result.split}: log p(x) ≥ {result.log_likelihood:.2f} ± {result.standard_error:.2f} nats per datum "
        f"(K = {result.num_particles:,}, {result.num_data:,} data){bits}"
    )
