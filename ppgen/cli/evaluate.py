"""``ppgen evaluate``: the test log-likelihood of a run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ppgen.cli.options import AsJson, DataMoved, Device, ModelAgain, RunFolder, Which
from ppgen.cli.output import keep, print_json, print_table, stdout_kept_for
from ppgen.data.dataset import SPLITS
from ppgen.errors import UsageError
from ppgen.evaluation.result import Evaluation
from ppgen.runs.load import load

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
    exact_log_z: Annotated[
        bool, typer.Option("--exact-log-z", help="Unnormalised models: log Z by enumeration, up to 2^22 states.")
    ] = False,
    temperatures: Annotated[
        int | None,
        typer.Option(
            help="Steps of annealing: to log Z of unnormalised models, or of --annealed.",
            show_default="10000, or 1000 of --annealed",
        ),
    ] = None,
    chains: Annotated[
        int | None,
        typer.Option(
            help="Chains that anneal: to log Z of unnormalised models, or for each datum of --annealed.",
            show_default="100, or 8 of --annealed",
        ),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(help="Unnormalised models: piecewise, linear or adaptive temperatures.", show_default="piecewise"),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            help="Unnormalised models: sweeps, temperatures x chains, within which either is doubled until the chains "
            "are worth 20.",
            show_default="8000000, or one run of given temperatures or chains",
        ),
    ] = None,
    sandwich: Annotated[
        bool, typer.Option("--sandwich", help="Unnormalised models: log Z from above too, by reverse annealing.")
    ] = False,
    num_samples: Annotated[
        int | None,
        typer.Option(
            help="Draws of the model for what is measured of samples.",
            show_default="10000 for models without a density and data with known modes, else 0",
        ),
    ] = None,
    labels: Annotated[
        bool | None,
        typer.Option(
            help="Hold the features against labels: a linear probe, retrieval.", show_default="where the data have them"
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="A run of a classifier that judges samples: classes that they show, a distance in its features.",
            show_default=False,
        ),
    ] = None,
    annealed: Annotated[
        bool, typer.Option("--annealed", help="log p(x) by annealing of the latents, of the first --annealed-data.")
    ] = False,
    annealed_data: Annotated[
        int | None, typer.Option(help="How many data --annealed is for.", show_default="30")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Models without a density, with --annealed: standard deviation of the noise about G(z).",
            show_default=False,
        ),
    ] = None,
    which: Which = None,
    model: ModelAgain = None,
    data: DataMoved = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Estimate the log-likelihood of a run's data by the K-sample bound, and whatever else can be measured.

    Its mean over data, in nats, with its standard error, and its curve over K; evaluation.json in the run keeps them.
    From an unnormalised model log Z is subtracted, and its error counts in the standard error; chains are added until
    they are worth 20 or the budget ends, and then it says by how much the number may flatter. A model without a
    density (a GAN) is judged by its samples: a Parzen window's log-likelihood, which is not the model's own, and more.
    With --annealed, --temperatures and --chains are those of the latents of each datum.
    """
    given = {"exact": exact_log_z or None, "num_temperatures": temperatures, "num_chains": chains, "spacing": spacing}
    given |= {"sandwich": sandwich or None, "budget": budget}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    annealing = _annealing(annealed, asked, num_data=annealed_data, noise=noise)
    with stdout_kept_for(as_json):
        found = load(run, pair=model, data=data, which=which, device=device)
        options: dict[str, Any] = {"num_data": num_data, "num_samples": num_samples, "labels": labels}
        options |= {"annealing": annealing, "classifier": classifier and load(classifier, device=device)}
        result = found.evaluate(split, particles, log_z=asked, **options, progress=True, write=False)
    if as_json:
        print_json(result.to_json())
    else:
        _print(result, with_curve=not found.pair.exact_guide)
    keep(found, result)


def _print(result: Evaluation, *, with_curve: bool) -> None:
    """The sentence, the bound's curve over K where there is one, and the measures."""
    print(result.sentence)
    if result.curve and with_curve and result.method not in ("exact", "point"):
        rows = [(f"{p.num_particles:,}", f"{p.log_likelihood:.3f}", f"{p.standard_error:.3f}") for p in result.curve]
        print_table((">K", ">log-likelihood", ">standard error"), rows)
    if result.measures:
        print_table(("measure", ">value", ">±", "what it says"), (measure.cells for measure in result.measures))


def _annealing(annealed: bool, asked: dict[str, Any], **given: Any) -> dict[str, Any] | None:
    """Options of annealing latents, of which those that log Z has too are taken from what is asked of it."""
    if not annealed:
        if any(value is not None for value in given.values()):
            raise UsageError("--annealed-data and --noise are of --annealed: add it, or leave them out.")
        return None
    given |= {"num_powers": asked.pop("num_temperatures", None), "num_chains": asked.pop("num_chains", None)}
    return {name: value for name, value in given.items() if value is not None}
