"""Sections of the report on what a diagnosis compares the guide with: ranks, a reference, best guides, annealing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ppgen.chains.evidence import powers
from ppgen.diagnostics.finding import Finding
from ppgen.diagnostics.questions.calibration import Calibration
from ppgen.diagnostics.questions.gaps import Gaps
from ppgen.diagnostics.questions.reference import Compared
from ppgen.diagnostics.questions.sandwich import Sandwich
from ppgen.diagnostics.simulation import DENSITIES
from ppgen.pages.charts import Curve, plot_bars, plot_curves, plot_sorted
from ppgen.pages.elements import Figure, figure_of
from ppgen.pages.numbers import counted, number
from ppgen.pages.statistics import plot_in_band, plot_intervals, plot_stacks
from ppgen.report.parts import of_question

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["calibration_ranks", "evidence_bounds", "inference_gaps", "reference_marginals"]

_MARGINALS = 6
"""Marginals whose quantiles are drawn."""

_LABELS = {"reference": "reference", "guide": "guide", "weighted": "weighted guide"}


@of_question("calibration", Calibration, "Calibration")
def calibration_ranks(run: Run, found: Finding, details: Calibration) -> Iterator[Figure]:
    """The ranks of simulated truths against the band of uniform ones, and the coverage of intervals."""
    yield _ecdf(details)
    yield _coverage(details)


@of_question("reference", Compared, "Marginals against a reference")
def reference_marginals(run: Run, found: Finding, details: Compared) -> Iterator[Figure]:
    """How far the guide's marginals are from the reference's, and the quantiles of the farthest."""
    yield _errors(details, found.threshold or 0.0)
    worst = _worst(details)
    if worst:
        yield _quantiles(details, worst)


@of_question("gaps", Gaps, "What the bound loses")
def inference_gaps(run: Run, found: Finding, details: Gaps) -> Iterator[Figure]:
    """The two parts of each datum's inference gap."""
    both = zip(details.per_datum.approximation_gap, details.per_datum.amortisation_gap, strict=True)
    approximation, amortisation = zip(*sorted(both, key=sum, reverse=True), strict=True)
    chart = plot_stacks(
        {"approximation": approximation, "amortisation": amortisation},
        x_label="data, the largest gap first",
        y_label="inference gap, nats",
    )
    gaps = details.inference_gap, details.approximation_gap, details.amortisation_gap, details.standard_error
    total, family, network, error = map(number, gaps)
    yield figure_of(
        chart,
        f"Inference gaps of {len(approximation)} data, mean {total} nats: {family} by approximation and {network} by "
        "amortisation.",
        f"What the guide leaves of log p(x), datum by datum. On average it is {total} nats: {family} because the best "
        f"guide of the family is not the posterior, {network} ± {error} because the encoder does not find that best "
        "one. A part below zero is Monte Carlo noise.",
    )


@of_question("sandwich", Sandwich, "log p(x) between two bounds")
def evidence_bounds(run: Run, found: Finding, details: Sandwich) -> Iterator[Figure]:
    """How far the bounds of each simulated datum are apart, how far the guide's bound of each datum is below, and how
    well the chains moved on their way."""
    ends = zip(details.simulated_upper, details.simulated_lower, strict=True)
    widths = sorted((high - low for high, low in ends), reverse=True)
    width, made = number(details.width), counted(len(widths), "simulated datum", "simulated data")
    yield figure_of(
        plot_bars(dict(enumerate(widths, 1)), x_label="data, the widest first", y_label="upper less lower, nats"),
        f"Bounds of {made}, {width} nats apart on average.",
        f"How far the two annealed bounds on log p(x) are apart, of {made}; on average {width} nats. Where they cross, "
        "it is by noise.",
    )
    if details.shortfall_per_datum:
        yield _short(sorted(details.shortfall_per_datum, reverse=True), number(details.shortfall or 0.0))
    rates = details.acceptance
    curve = Curve("acceptance", powers(len(rates)).tolist()[1:], rates)
    yield figure_of(
        plot_curves(
            [curve], x_label="power of p(x | z), from the prior (0) to the posterior (1)", y_label="acceptance"
        ),
        f"Rates of acceptance over {len(rates)} powers, from {number(min(rates))} to {number(max(rates))}.",
        f"The share of moves that the chains accepted at each of {len(rates)} powers. Where it falls towards zero they "
        "do not move, and the bounds are loose.",
    )


def _short(gaps: Sequence[float], mean: str) -> Figure:
    """How far the guide's bound is below the annealed lower one."""
    data = counted(len(gaps), "datum", "data")
    return figure_of(
        plot_bars(dict(enumerate(gaps, 1)), x_label="data, the largest first", y_label="lower less guide's, nats"),
        f"The guide's bound of {data}, {mean} nats below the annealed lower one on average.",
        f"How far the guide's bound is below the annealed lower one, of {data}; on average {mean} nats. Below zero it "
        "is the better of the two.",
    )


def _ecdf(details: Calibration) -> Figure:
    lower, upper = details.band.lower, details.band.upper
    outside = [name for name, curve in details.curves.items() if _leaves(curve, lower, upper)]
    groups = {
        "within": [curve for name, curve in details.curves.items() if name not in outside],
        "outside": [details.curves[name] for name in outside],
    }
    level = f"{details.band.level:.0%}"
    chart = plot_in_band(
        details.points,
        lower,
        upper,
        groups,
        band=f"{level} band",
        x_label="rank of the truth among the draws, as a share",
        y_label="ECDF less uniform",
    )
    drawn_of = f"{len(details.curves)} of {len(details.quantities)} quantities"
    left = f"outside the band: {_listed(outside) or 'none'}"
    return figure_of(
        chart,
        f"Ranks of {drawn_of} against the band of uniform ones; {left}.",
        f"The distribution function of the ranks of {details.num_simulations:,} simulated truths among "
        f"{details.num_draws} draws of the guide, less that of uniform ranks, for the {drawn_of} of the smallest "
        f"p-values; {left}. A calibrated guide's curve stays within the band all along with probability {level}; one "
        "that leaves it is beyond chance, and may be small: the light goes by how far. Of a latent, above zero all "
        "along: the guide sits too high; below: too low. First above and then below: too narrow; first below and then "
        "above: too wide.",
    )


def _leaves(curve: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> bool:
    return not all(low <= y <= high for y, low, high in zip(curve, lower, upper, strict=True))


def _listed(names: Sequence[str], most: int = 4) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _coverage(details: Calibration) -> Figure:
    """The mean over latents, and the lowest and the highest of them, against the level."""
    latents = [one.coverage for one in details.quantities if one.name not in DENSITIES]
    texts, levels = list(details.coverage), [float(level) for level in details.coverage]
    held = list(details.coverage.values())
    curves = [Curve("calibrated", levels, levels), Curve("mean", levels, held)]
    if len(latents) > 1:
        for label, extreme in (("lowest", min), ("highest", max)):
            curves.append(Curve(label, levels, [extreme(one[level] for one in latents) for level in texts]))
    said = ", ".join(f"of {level:.0%} in {share:.1%}" for level, share in zip(levels, held, strict=True))
    error = 0.5 / math.sqrt(details.num_simulations)
    return figure_of(
        plot_curves(curves, x_label="level of the interval", y_label="share that holds the truth"),
        f"Coverage of central intervals: {said}.",
        f"How often the guide's central intervals hold the truth, on average over {len(latents):,} latents: {said}. "
        "Below the line of a calibrated guide they are too narrow, above it too wide. Lowest and highest are those of "
        f"the latents at each level; a single latent's share has a standard error of up to {error:.1%}.",
    )


def _errors(details: Compared, threshold: float) -> Figure:
    """The sorted errors of all marginals."""
    curves, medians = [], {}
    for name, errors in details.interval_error.items():
        ordered = sorted(error for row in errors for error in row)
        curves.append((_LABELS[name], ordered))
        medians[_LABELS[name]] = number(ordered[len(ordered) // 2])
    said = ", ".join(f"{median} of the {label}" for label, median in medians.items())
    noise = number(details.noise["guide"])
    return figure_of(
        plot_sorted(curves, threshold, of="marginals", y_label="error of a probability"),
        f"Errors of {len(ordered)} marginals against the reference; medians: {said}.",
        f"The largest error in the probability of any interval, of each of {len(ordered):,} marginals, in order; the "
        f"medians are {said}. Two samples of one distribution would differ by about {noise}. Weighted: the same draws "
        "with their importance weights.",
    )


def _worst(details: Compared) -> list[tuple[int, int]]:
    """Rows and columns of the farthest marginals, of those of more than two states: quantiles of a coin tell little."""
    error, quantiles = details.interval_error["guide"], details.quantiles["reference"]
    places = [(row, column) for row, errors in enumerate(error) for column in range(len(errors))]
    rich = [(row, column) for row, column in places if len({level[row][column] for level in quantiles}) > 2]
    return sorted(rich, key=lambda place: -error[place[0]][place[1]])[:_MARGINALS]


def _quantiles(details: Compared, worst: list[tuple[int, int]]) -> Figure:
    """Five quantiles of the farthest marginals by reference, guide and weighted guide."""
    whose = [f", datum {datum}" for datum in details.data] or [""]
    names = [f"{details.names[column]}{whose[row]}" for row, column in worst]
    groups = {
        _LABELS[name]: [[level[row][column] for level in levels] for row, column in worst]
        for name, levels in details.quantiles.items()
    }
    least, low, _, high, most = (f"{100 * probability:.0f}" for probability in details.probabilities)
    return figure_of(
        plot_intervals(names, groups, x_label="latent"),
        f"Quantiles of the {len(names)} marginals farthest from the reference: {'; '.join(names)}.",
        f"The {len(names)} marginals of the guide that are farthest from the reference, the farthest on top. Thin: "
        f"from the {least} % to the {most} % quantile; thick: from {low} % to {high} %; the point is the median.",
    )
