"""Sections of the report on its diagnosis: the verdict with a light for each question, and the plots of some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from markupsafe import Markup
from torch import Tensor

from ppgen.diagnostics.result import Finding
from ppgen.pages.charts import Curve, Vectors, draw_bars, draw_curves, draw_panels
from ppgen.pages.elements import COLUMNS, Figure, Section, drawn, picture
from ppgen.pages.numbers import number, short
from ppgen.pages.pictures import grid, picture_shape
from ppgen.report.parts import grey, of_question

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["aggregated_posterior", "chain_energies", "importance_weights", "latent_units", "verdict"]

_WALKS = 3
"""Chains that are drawn."""

_KL = "kl", "KL, nats", "What the bound pays for each unit."
_ACTIVITY = "activity", "activity", "The share of each unit's variance that data explain."
_BELOW = (
    " Below zero: latents that the guide draws after the unit, and the model before it, tell more of it than the guide "
    "does from the datum alone; the sum over all units is what the bound pays."
)

_LINES = 6
"""Worst data that are drawn where they are no pictures."""


def verdict(run: Run) -> Section | None:
    """A light for each question, with its number, threshold, source and what to do; None for a run not diagnosed."""
    found = run.diagnosis
    if found is None:
        return None
    infers = not (run.pair.implicit or run.pair.exact_guide)
    draws = f", with {found.num_particles:,} draws of the guide for each" if infers else ""
    text = f"{found.sentence} Asked of {found.num_data:,} {found.split} data{draws}. {found.left_out}"
    lights = Markup('<ul class="lights">{}</ul>').format(Markup("").join(map(_light, found.findings)))
    return Section(f"Is the {'guide' if infers else 'model'} to be believed?", text, (Figure(lights),))


@of_question("importance", "Importance weights")
def importance_weights(run: Run, found: Finding) -> Iterator[Figure]:
    """k-hat over the data, and the data of the largest."""
    if "per_datum" not in found.details:
        return
    k = sorted(value if value is not None else float("inf") for value in found.details["per_datum"]["k"])
    shares = [100 * (i + 1) / len(k) for i in range(len(k))]
    limit = Curve("threshold", [0, 100], [found.threshold or 0] * 2)
    chart = draw_curves([Curve("k-hat", shares, k), limit], x_label="percent of the data", y_label="Pareto k-hat")
    median = number(k[len(k) // 2])
    yield drawn(
        chart,
        f"The median k-hat is {median}, the largest {number(k[-1])}.",
        f"The k-hat of each of {len(k):,} data, in order. Above the threshold the weights of the guide's draws do not "
        "tell what they are to stand for.",
    )
    yield _worst(run, found)


@of_question("collapse", "Units of the latents")
def latent_units(run: Run, found: Finding) -> Iterator[Figure]:
    """The KL of every unit, and which are active."""
    every = found.details.get("units", ())
    has_kl = any(unit["kl"] is not None for unit in every)
    name, what, says = _KL if has_kl else _ACTIVITY
    ranked = sorted(every, key=lambda unit: -(unit[name] or 0.0))
    idle = set(found.details.get("idle", ()))
    bars = [(rank, unit[name] or 0.0, unit["name"] in idle) for rank, unit in enumerate(ranked, 1)]
    groups = {
        "active": [(rank, height) for rank, height, is_idle in bars if not is_idle],
        "idle": [(rank, height) for rank, height, is_idle in bars if is_idle],
    }
    chart = draw_bars(groups, x_label="units, the most used first", y_label=what)
    first = ", ".join(f"{unit['name']} {number(unit[name] or 0.0)}" for unit in ranked[:3])
    yield drawn(
        chart,
        f"{len(groups['active'])} active and {len(groups['idle'])} idle units; the first are {first}.",
        f"{says} The first are {first}. Idle: the unit's mean, which moves with the datum, explains at most 1 % of its "
        f"variance.{_BELOW if any(height < 0 for _, height, _ in bars) else ''}",
    )


@of_question("aggregate", "Aggregated posterior")
def aggregated_posterior(run: Run, found: Finding) -> Iterator[Figure]:
    """The latents of the data against the prior: moments of each, and draws of the two that go together most."""
    if "draws" not in found.details:
        return
    labels, two = found.details["latents"], found.details["most_correlated"]
    places = [float(i) for i in range(len(labels))]
    curves = [
        Curve(label, places, found.details[f"{which}mean"], [v**0.5 for v in found.details[f"{which}variance"]])
        for label, which in (("data", ""), ("prior", "prior_"))
    ]
    yield drawn(
        draw_curves(curves, x_label="latent", y_label="mean ± standard deviation"),
        f"{len(labels)} latents of the data against the prior.",
        "Mean and standard deviation of each latent over the data, and under the prior.",
    )
    groups = {"data": ("draws", 0), "prior": ("prior_draws", 1)}
    panels = {title: [Vectors(torch.tensor(found.details[key]), hue, 0.5)] for title, (key, hue) in groups.items()}
    names = " and ".join(dict.fromkeys(labels[i] for i in two))
    yield drawn(
        draw_panels(panels),
        f"Draws of {names}.",
        f"Draws of {names}, the two that go together most: correlation "
        f"{number(found.details['largest_correlation'])} in size over the data.",
    )


@of_question("mixing", "Mixing of the chains")
def chain_energies(run: Run, found: Finding) -> Iterator[Figure]:
    """The free energies of some chains on their way."""
    energies = found.details["energies"]
    step = found.details["sweeps"] // len(energies[0])
    curves = [Curve(f"chain {i}", [step * t for t in range(len(one))], one) for i, one in enumerate(energies[:_WALKS])]
    yield drawn(
        draw_curves(curves, x_label="sweeps", y_label="free energy, nats"),
        f"{len(curves)} chains over {found.details['sweeps']:,} sweeps: R-hat {number(found.details['r_hat'], 3)}.",
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


def _worst(run: Run, found: Finding) -> Figure:
    """The data of the largest k-hat."""
    assert run.diagnosis is not None
    k, worst = found.details["per_datum"]["k"], found.details["worst"][:COLUMNS]
    named = ", ".join(f"{i} ({'∞' if k[i] is None else number(k[i])})" for i in worst)
    x = run.data.rows(run.diagnosis.split, torch.tensor(worst))[0]
    caption = f"The data of the largest k-hat: {named}."
    shape = picture_shape(run.data.spec)
    if shape is None:
        return drawn(draw_panels(_panels(worst, x)), f"{min(_LINES, len(worst))} data of the largest k-hat.", caption)
    columns = len(worst) if run.data.spec.image_shape is not None else 1
    return Figure(picture(grid(x, shape, columns, grey=grey(run)), columns, caption), caption)


def _panels(worst: list[int], x: Tensor) -> dict[str, list[Vectors]]:
    return {f"datum {i}": [Vectors(x[[row]], 0)] for row, i in enumerate(worst[:_LINES])}
