"""Sections of the report on its diagnosis: the verdict with a light for each question, and the plots of some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from markupsafe import Markup

from ppgen.diagnostics.finding import Finding
from ppgen.diagnostics.questions.aggregate import Moments
from ppgen.diagnostics.questions.collapse import ACTIVE, Units
from ppgen.diagnostics.questions.importance import Weights
from ppgen.diagnostics.questions.mixing import Mixing
from ppgen.diagnostics.result import WORDS
from ppgen.diagnostics.units import Unit
from ppgen.pages.charts import Curve, Vectors, plot_curves, plot_panels
from ppgen.pages.elements import COLUMNS, Figure, Section, figure_of
from ppgen.pages.look import look_of
from ppgen.pages.numbers import counted, number
from ppgen.pages.statistics import plot_layers, plot_spreads
from ppgen.report.parts import k_hats, of_question
from ppgen.report.proof import link_to, worth

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["aggregated_posterior", "chain_energies", "importance_weights", "latent_units", "verdict"]

_WALKS = 3
"""Chains that are drawn."""


def verdict(run: Run) -> Section | None:
    """A light for each question, with its number, threshold, source and what to do, the gravest first and the good ones
    folded away; None for a run not diagnosed."""
    found = run.diagnosis
    if found is None:
        return None
    infers = run.pair.has_approximate_guide
    draws = f", with {found.num_particles:,} draws of the guide for each" if infers else ""
    text = f"{found.tally}. Asked of {found.num_data:,} {found.split} data{draws}. {found.left_out}"
    gravest = found.gravest_first
    good = [one for one in gravest if one.status == "good"]
    lights = _lights([one for one in gravest if one.status != "good"]) + _folded(good)
    lines = worth(one.question for one in found)
    title = f"Is the {'guide' if infers else 'model'} to be believed?"
    return Section(title, text, (Figure(lights), *([Figure(lines)] if lines else [])), group="Guide", wide=True)


@of_question("importance", Weights, "Importance weights")
def importance_weights(run: Run, found: Finding, details: Weights) -> Iterator[Figure]:
    """k-hat over the data, and the data of the largest."""
    k = details.per_datum.k
    yield k_hats(
        k,
        found.threshold,
        f"The k-hat of each of {len(k):,} data, in order. Above the threshold the weights of the guide's draws do not "
        "tell what they are to stand for.",
    )
    yield _worst(run, k, details.worst)


@of_question("collapse", Units, "Units of the latents")
def latent_units(run: Run, found: Finding, details: Units) -> Iterator[Figure]:
    """The activity of every unit, layer by layer, and which are active."""
    layers: dict[str, list[Unit]] = {}
    for unit in sorted(details.units, key=lambda unit: -unit.activity):
        layers.setdefault(unit.site, []).append(unit)
    panels = {_of_layer(name, layers[name], details.idle): _told_apart(layers[name], details.idle) for name in layers}
    said = "; ".join(panels)
    whole = "prior variance" if run.pair.has_prior else "variance"
    paid = "" if details.kl is None else f" All units together cost the bound {number(details.kl)} nats."
    yield figure_of(
        plot_layers(panels, x_label="units, the most active first", y_label="activity"),
        f"Activity of the units of each latent. {said}.",
        f"The share of each unit's {whole} that its mean, which moves with the datum, explains; {said}. Idle, in "
        f"the other colour: at most {ACTIVE:.0%}.{paid}",
    )


@of_question("aggregate", Moments, "Aggregated posterior")
def aggregated_posterior(run: Run, found: Finding, details: Moments) -> Iterator[Figure]:
    """The latents of the data against the prior: moments of each, and draws of the two that go together most."""
    labels = details.latents
    spreads = {
        "data": [(mean, v**0.5) for mean, v in zip(details.mean, details.variance, strict=True)],
        "prior": [(mean, v**0.5) for mean, v in zip(details.prior_mean, details.prior_variance, strict=True)],
    }
    latents = counted(len(labels), "latent")
    yield figure_of(
        plot_spreads(spreads, x_label="latent", y_label="mean ± standard deviation"),
        f"{latents} of the data against the prior.",
        f"Mean and standard deviation of each of {latents} over the data, and under the prior.",
    )
    groups = {"data": details.draws, "prior": details.prior_draws}
    panels = {title: [Vectors(torch.tensor(x), hue, 0.5)] for hue, (title, x) in enumerate(groups.items())}
    names = " and ".join(dict.fromkeys(labels[i] for i in details.most_correlated))
    together = (
        f", the two that go together most: correlation {number(details.largest_correlation)} in size over the data"
    )
    yield figure_of(
        plot_panels(panels), f"Draws of {names}.", f"Draws of {names}{together if len(labels) > 1 else ''}."
    )


@of_question("mixing", Mixing, "Mixing of the chains", group="Model")
def chain_energies(run: Run, found: Finding, details: Mixing) -> Iterator[Figure]:
    """The free energies of some chains on their way."""
    energies, step = details.energies, details.sweeps // len(details.energies[0])
    curves = [Curve(f"chain {i}", [step * t for t in range(len(one))], one) for i, one in enumerate(energies[:_WALKS])]
    yield figure_of(
        plot_curves(curves, x_label="sweeps", y_label="free energy, nats"),
        f"{counted(len(curves), 'chain')} over {details.sweeps:,} sweeps: R-hat {number(details.r_hat, 3)}.",
        "The free energy of chains that start at draws of the base distribution. Where they stay apart, they do not "
        "mix.",
    )
    if not details.shares:  # of an earlier diagnosis
        return
    percent = 100 * torch.tensor(details.shares)
    least, most = number(float(percent.min())), number(float(percent.max()))
    tenths = [Curve(f"chain {i}", list(range(1, 11)), one.tolist()) for i, one in enumerate(percent[:_WALKS])]
    yield figure_of(
        plot_curves(tenths, x_label="tenths of all energies, the lowest first", y_label="percent of the chain"),
        f"Shares of {counted(len(tenths), 'chain')} in the tenths of all energies.",
        f"Energies of {counted(len(percent), 'chain')} ranked together: the share of a chain's own in each "
        f"tenth, from {least} to {most} percent; 10 where chains agree, but for the noise of as many draws as they are "
        "worth.",
    )


def _of_layer(name: str, units: list[Unit], idle: list[str]) -> str:
    """The site's name, and how many of its units are active."""
    return f"{name}: {sum(unit.name not in idle for unit in units)} of {counted(len(units), 'unit')} active"


def _told_apart(units: list[Unit], idle: list[str]) -> dict[str, list[tuple[float, float]]]:
    """Bars of units in their order, the idle in a colour of their own."""
    placed = [(float(rank), unit.activity, unit.name in idle) for rank, unit in enumerate(units, 1)]
    return {
        "active": [(rank, height) for rank, height, is_idle in placed if not is_idle],
        "idle": [(rank, height) for rank, height, is_idle in placed if is_idle],
    }


def _lights(findings: Sequence[Finding]) -> Markup:
    return Markup('<ul class="lights">{}</ul>').format(Markup("").join(map(_light, findings)))


def _folded(good: Sequence[Finding]) -> Markup:
    """What is good, behind a line that says so."""
    if not good:
        return Markup("")
    said = f"{counted(len(good), 'question')} found good"
    return Markup("<details><summary>{}</summary>{}</details>").format(said, _lights(good))


def _light(found: Finding) -> Markup:
    return Markup(
        '<li class="{}"><span class="number"><b>{}</b> {}</span><strong>{}</strong><div>{}</div><div>{}</div>'
        "<small>{}{}</small></li>"
    ).format(
        found.status,
        WORDS[found.status],
        found.held,
        found.title,
        found.meaning,
        f"What to do: {found.advice}" if found.advice else "",
        found.source,
        link_to(found.question),
    )


def _worst(run: Run, k: list[float], worst: list[int]) -> Figure:
    """The data of the largest k-hat, each over its own."""
    assert run.diagnosis is not None
    look = look_of(run.data)
    worst = worst[: min(COLUMNS, look.compared)]
    x = run.data.rows(run.diagnosis.split, torch.tensor(worst))[0]
    named = {f"datum {i}: {number(k[i])}": row for i, row in zip(worst, x, strict=True)}
    alt = f"The data of the largest k-hat: {', '.join(named)}."
    return look.each(named, alt, f"The {counted(len(worst), 'datum', 'data')} of the largest k-hat, each with its own.")
