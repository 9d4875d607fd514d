"""Sections of the report on its diagnosis: the verdict with a light for each question, and the plots of some."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from markupsafe import Markup

from ppgen.diagnostics.finding import Finding
from ppgen.diagnostics.questions.aggregate import Moments
from ppgen.diagnostics.questions.collapse import Units
from ppgen.diagnostics.questions.importance import Weights
from ppgen.diagnostics.questions.mixing import Mixing
from ppgen.pages.charts import Curve, Vectors, plot_bars, plot_curves, plot_panels
from ppgen.pages.elements import COLUMNS, Figure, Section, figure_of
from ppgen.pages.look import look_of
from ppgen.pages.numbers import number, short
from ppgen.report.parts import k_hats, of_question

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["aggregated_posterior", "chain_energies", "importance_weights", "latent_units", "verdict"]

_WALKS = 3
"""Chains that are drawn."""

_KL = attrgetter("kl"), "KL, nats", "What the bound pays for each unit."
_ACTIVITY = attrgetter("activity"), "activity", "The share of each unit's variance that data explain."
_BELOW = (
    " Below zero: latents that the guide draws after the unit, and the model before it, tell more of it than the guide "
    "does from the datum alone; the sum over all units is what the bound pays."
)


def verdict(run: Run) -> Section | None:
    """A light for each question, with its number, threshold, source and what to do; None for a run not diagnosed."""
    found = run.diagnosis
    if found is None:
        return None
    infers = run.pair.has_approximate_guide
    draws = f", with {found.num_particles:,} draws of the guide for each" if infers else ""
    text = f"{found.sentence} Asked of {found.num_data:,} {found.split} data{draws}. {found.left_out}"
    lights = Markup('<ul class="lights">{}</ul>').format(Markup("").join(map(_light, found.findings)))
    return Section(f"Is the {'guide' if infers else 'model'} to be believed?", text, (Figure(lights),))


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
    """The KL of every unit, and which are active."""
    use, what, says = _KL if any(unit.kl is not None for unit in details.units) else _ACTIVITY
    ranked = sorted(((unit.name, use(unit) or 0.0) for unit in details.units), key=lambda one: -one[1])
    bars = [(float(rank), height, name in details.idle) for rank, (name, height) in enumerate(ranked, 1)]
    groups = {
        "active": [(rank, height) for rank, height, is_idle in bars if not is_idle],
        "idle": [(rank, height) for rank, height, is_idle in bars if is_idle],
    }
    chart = plot_bars(groups, x_label="units, the most used first", y_label=what)
    first = ", ".join(f"{name} {number(height)}" for name, height in ranked[:3])
    yield figure_of(
        chart,
        f"{len(groups['active'])} active and {len(groups['idle'])} idle units; the first are {first}.",
        f"{says} The first are {first}. Idle: the unit's mean, which moves with the datum, explains at most 1 % of its "
        f"variance.{_BELOW if any(height < 0 for _, height, _ in bars) else ''}",
    )


@of_question("aggregate", Moments, "Aggregated posterior")
def aggregated_posterior(run: Run, found: Finding, details: Moments) -> Iterator[Figure]:
    """The latents of the data against the prior: moments of each, and draws of the two that go together most."""
    labels, places = details.latents, [float(i) for i in range(len(details.latents))]
    curves = [
        Curve("data", places, details.mean, [v**0.5 for v in details.variance]),
        Curve("prior", places, details.prior_mean, [v**0.5 for v in details.prior_variance]),
    ]
    yield figure_of(
        plot_curves(curves, x_label="latent", y_label="mean ± standard deviation"),
        f"{len(labels)} latents of the data against the prior.",
        "Mean and standard deviation of each latent over the data, and under the prior.",
    )
    groups = {"data": details.draws, "prior": details.prior_draws}
    panels = {title: [Vectors(torch.tensor(x), hue, 0.5)] for hue, (title, x) in enumerate(groups.items())}
    names = " and ".join(dict.fromkeys(labels[i] for i in details.most_correlated))
    yield figure_of(
        plot_panels(panels),
        f"Draws of {names}.",
        f"Draws of {names}, the two that go together most: correlation "
        f"{number(details.largest_correlation)} in size over the data.",
    )


@of_question("mixing", Mixing, "Mixing of the chains")
def chain_energies(run: Run, found: Finding, details: Mixing) -> Iterator[Figure]:
    """The free energies of some chains on their way."""
    energies, step = details.energies, details.sweeps // len(details.energies[0])
    curves = [Curve(f"chain {i}", [step * t for t in range(len(one))], one) for i, one in enumerate(energies[:_WALKS])]
    yield figure_of(
        plot_curves(curves, x_label="sweeps", y_label="free energy, nats"),
        f"{len(curves)} chains over {details.sweeps:,} sweeps: R-hat {number(details.r_hat, 3)}.",
        "The free energy of chains that start at draws of the base distribution. Where they stay apart, they do not "
        "mix.",
    )


def _light(found: Finding) -> Markup:
    held = "" if found.threshold is None else f" (threshold {short(found.threshold)})"
    return Markup(
        '<li class="{}"><span class="number">{}{}{}</span><strong>{}</strong><div>{}</div><div>{}</div>'
        "<small>{}</small></li>"
    ).format(
        found.status,
        f"{found.status} ",
        "" if found.number is None else short(found.number),
        held,
        found.title,
        found.meaning,
        f"What to do: {found.advice}" if found.advice else "",
        found.source,
    )


def _worst(run: Run, k: list[float], worst: list[int]) -> Figure:
    """The data of the largest k-hat."""
    assert run.diagnosis is not None
    worst = worst[:COLUMNS]
    named = ", ".join(f"{i} ({number(k[i])})" for i in worst)
    x = run.data.rows(run.diagnosis.split, torch.tensor(worst))[0]
    caption = f"The data of the largest k-hat: {named}."
    return look_of(run.data).each({f"datum {i}": row for i, row in zip(worst, x, strict=True)}, caption, caption)
