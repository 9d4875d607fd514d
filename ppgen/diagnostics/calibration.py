"""Is the guide calibrated? Ranks of simulated truths, and how often credible intervals hold them.

Data are simulated from the model; the ranks of their latents among the guide's draws are uniform if the guide is the
posterior (:mod:`ppgen.diagnostics.simulation`). Their shape tells what is wrong: U-shaped ranks are those of a guide
that is too narrow, those heaped in the middle of one too wide, a slope of one that sits too low or too high.

A central interval of level a, between the quantiles (1 - a) / 2 and (1 + a) / 2 of the guide's draws, holds the truth
in a share a of the data if the guide is calibrated. Under a guide N(m, c^2 s^2) of a posterior N(m, s^2) it does in

    P(|t| < c Phi^-1((1 + a) / 2)) = 2 Phi(c Phi^-1((1 + a) / 2)) - 1,      t ~ N(0, 1):

an interval of 90 % with c = 0.6 in 68 %.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ppgen.diagnostics.case import Case
from ppgen.diagnostics.result import Finding, Status
from ppgen.diagnostics.simulation import Ranks, simulated_ranks
from ppgen.diagnostics.uniformity import ecdf_band, ecdf_counts, uniformity_p

__all__ = ["LEVELS", "calibration", "interval_coverage", "shapes"]

LEVELS = (0.5, 0.8, 0.9)
"""Of the central intervals whose coverage is reported; L + 1 = 100 ranks divide by all of them."""

_SIMULATIONS, _DRAWS = 500, 99
_ALPHA = 0.01
_DISTANCE = 0.1
_CURVES = 12

_TITLE = "Is the guide calibrated on data the model makes?"
_SOURCE = (
    "Talts et al. 2018, simulation-based calibration; Säilynoja et al. 2022, simultaneous bands: p at least 0.01 over "
    "all quantities; Modrák et al. 2025, test quantities"
)
_ADVICE = {
    "too narrow": "The guide is overconfident: train with an objective that covers more mass ('iwelbo' or 'dreg' with "
    "more particles, 'rws'), or give it a richer family (full covariance, a flow).",
    "too wide": "The guide is wider than the posterior: train longer; a posterior that depends on x more sharply than "
    "the encoder can say needs a larger encoder.",
    "too low": "The guide is off in location: train longer or with a larger encoder; wake-sleep ('rws' with "
    "sleep=1) trains it on data the model makes.",
}
_ADVICE["too high"] = _ADVICE["too low"]


def calibration(case: Case) -> Finding | None:
    """Simulation-based calibration of the guide of a datum's latents, and the coverage of its central intervals.

    The number is the p-value of uniform ranks, the smallest over quantities times how many there are. Green: it is at
    least 0.01, which an exact guide misses in at most 1 % of all diagnoses. Red: it is not, and some quantity's
    probabilities P(z < t) are off by more than a tenth. Yellow: it is not, and none is. None for a pair without a
    normalised density to simulate from, with an exact guide, or without latents of a datum.
    """
    pair = case.pair
    if pair.implicit or not pair.normalised or pair.exact_guide or not _amortised(case):
        return None
    ranks = simulated_ranks(pair, case.batch, _SIMULATIONS, _DRAWS, progress=case.progress)
    p, distance = uniformity_p(ranks.values, _DRAWS), _difference(ranks).abs().amax(0)
    number = min(1.0, len(p) * float(p.min()))
    status: Status = "good" if number >= _ALPHA else "bad" if float(distance.max()) > _DISTANCE else "warn"
    kinds, worst = shapes(ranks), int(p.argmin())
    return Finding(
        question="calibration",
        title=_TITLE,
        status=status,
        number=number,
        threshold=_ALPHA,
        source=_SOURCE,
        meaning=f"p-value that ranks of {len(p):,} quantities of {_SIMULATIONS} simulated data among {_DRAWS} draws "
        f"each are uniform; {_worst_in_words(ranks, kinds, distance, worst)}; {_coverage_in_words(ranks)}",
        advice="" if status == "good" else _advice(ranks, kinds, worst),
        details=_details(ranks, p, distance, kinds),
    )


def interval_coverage(ranks: Ranks, level: float) -> Tensor:
    """The share of truths within the central interval of ``level`` of their draws, quantity by quantity: (Q,)."""
    return _inside(ranks, level).double().mean(0)


def shapes(ranks: Ranks) -> list[str]:
    """What the ranks of each quantity look most like: a guide too narrow, too wide, too low or too high.

    With u = (r + 1/2) / (L + 1), by the larger of two standardised deviations from those of a uniform: that of the
    mean, whose variance is 1/12, and that of (u - 1/2)^2, whose mean is 1/12 and variance 1/180.
    """
    u = (ranks.values.double() + 0.5) / (ranks.num_draws + 1)
    shift = (u.mean(0) - 0.5) * math.sqrt(12 * len(u))
    spread = ((u - 0.5).square().mean(0) - 1 / 12) * math.sqrt(180 * len(u))
    wide, low = zip(spread.tolist(), shift.tolist(), strict=True), {True: "too low", False: "too high"}
    return [low[b > 0] if abs(b) > abs(a) else "too narrow" if a > 0 else "too wide" for a, b in wide]


def _amortised(case: Case) -> bool:
    """Whether the pair has latents in a data plate."""
    return bool(case.local_latents) and case.one.log_q.shape[1] > 1


def _inside(ranks: Ranks, level: float) -> Tensor:
    """Whether a rank lies in the middle ``level`` of 0, ..., L: (N, Q)."""
    cut = round((1 - level) / 2 * (ranks.num_draws + 1))
    return (ranks.values >= cut) & (ranks.values < ranks.num_draws + 1 - cut)


def _difference(ranks: Ranks) -> Tensor:
    """The distribution function of the ranks less that of a uniform, (L, Q)."""
    counts = ecdf_counts(ranks.values, ranks.num_draws)
    return counts / len(ranks.values) - _points(ranks).to(counts.device)[:, None]


def _points(ranks: Ranks) -> Tensor:
    return torch.arange(1, ranks.num_draws + 1, dtype=torch.float64) / (ranks.num_draws + 1)


def _worst_in_words(ranks: Ranks, kinds: list[str], distance: Tensor, worst: int) -> str:
    far = f"{float(distance[worst]):.0%}"
    if worst < ranks.num_latents:
        return (
            f"the least uniform is {ranks.names[worst]}, P({ranks.names[worst]} < t) off by up to {far}, {kinds[worst]}"
        )
    return f"the least uniform is {ranks.names[worst]}, whose probabilities are off by up to {far}"


def _coverage_in_words(ranks: Ranks) -> str:
    inside = _inside(ranks, LEVELS[-1])[:, : ranks.num_latents].double().mean(1)  # (N,)
    error = float(inside.std()) / math.sqrt(len(inside))
    return f"{LEVELS[-1]:.0%} intervals of latents hold the truth in {float(inside.mean()):.1%} ± {error:.1%}"


def _advice(ranks: Ranks, kinds: list[str], worst: int) -> str:
    if worst < ranks.num_latents:
        return _ADVICE[kinds[worst]]
    return (
        "Each latent by itself is better calibrated than what all of them say of x together: the guide misses "
        "correlations between latents (a richer family: full covariance, a flow, more layers), or does not use x "
        "where the model does."
    )


def _details(ranks: Ranks, p: Tensor, distance: Tensor, kinds: list[str]) -> dict[str, Any]:
    difference, (lower, upper) = _difference(ranks), ecdf_band(len(ranks.values), ranks.num_draws)
    points, num = _points(ranks), len(ranks.values)
    coverage = {str(level): interval_coverage(ranks, level).tolist() for level in LEVELS}
    shown = p.argsort()[:_CURVES].tolist()
    return {
        "num_simulations": num,
        "num_draws": ranks.num_draws,
        "coverage": {level: sum(of[: ranks.num_latents]) / ranks.num_latents for level, of in coverage.items()},
        "points": points.tolist(),
        "band": {"lower": (lower / num - points).tolist(), "upper": (upper / num - points).tolist(), "level": 0.95},
        "quantities": [
            {
                "name": name,
                "p": float(p[index]),
                "distance": float(distance[index]),
                "shape": kinds[index] if len(p) * float(p[index]) < _ALPHA else None,
                "coverage": {level: of[index] for level, of in coverage.items()},
            }
            for index, name in enumerate(ranks.names)
        ],
        "curves": {ranks.names[index]: difference[:, index].tolist() for index in shown},
        "histograms": {
            ranks.names[index]: (ranks.values[:, index] * 20 // (ranks.num_draws + 1)).bincount(minlength=20).tolist()
            for index in shown
        },
    }
