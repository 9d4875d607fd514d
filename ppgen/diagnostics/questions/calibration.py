"""Is the guide calibrated? Ranks of simulated truths, and how often credible intervals hold them.

Data are simulated from the model; the ranks of their latents among the guide's draws are uniform if the guide is the
posterior (:mod:`ppgen.diagnostics.simulation`). Their shape tells what is wrong: U-shaped ranks are those of a guide
that is too narrow, those heaped in the middle of one too wide, a slope of one that sits too low or too high.

A central interval of level a, between the quantiles (1 - a) / 2 and (1 + a) / 2 of the guide's draws, holds the truth
in a share a of the data if the guide is calibrated. Under a guide N(m, c^2 s^2) of a posterior N(m, s^2) it does in

    P(|t| < c Phi^-1((1 + a) / 2)) = 2 Phi(c Phi^-1((1 + a) / 2)) - 1,      t ~ N(0, 1):

an interval of 90 % with c = 0.6 in 68 %.

Every guide but the exact one fails a test of uniform ranks, given enough simulations: p tells whether a departure is
seen, and not whether it matters. The light goes by its size, the largest error V of the probability of any interval
(:mod:`ppgen.diagnostics.uniformity`), less what chance makes of it: the noise that V of all quantities of an exact
guide stays below with probability 0.99. Under that N(m, c^2 s^2) it is the total variation

    V = 2 Phi(t) - 2 Phi(c t),   t^2 = -2 log c / (1 - c^2):    0.05, 0.11, 0.17, 0.25, 0.32 at c = 0.9, 0.8, ..., 0.5

and where the guide is off by d s, V = 2 Phi(|d| / 2) - 1. The limits of a latent are 0.05 and 0.15. At the second,
c = 0.74 or d = 0.38: intervals of 90 % miss the truth in 23 %, more than twice as often as they say.

What all latents say together adds up: of F independent latents each too narrow by the same c, the ranks of log p(x, z)
are farther off than those of any, by a factor of the order of sqrt(F). The limits of the two densities are 0.15 and
0.5, about those of ten such latents. At the second, guide and posterior share at most half of their mass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.finding import Finding, Status
from ppgen.diagnostics.question import asks
from ppgen.diagnostics.simulation import DENSITIES, Ranks, simulated_ranks
from ppgen.diagnostics.uniformity import ecdf_band, ecdf_difference, interval_error, interval_noise, uniformity_p
from ppgen.evaluation.case import Case
from ppgen.pairs.reductions import standard_error

__all__ = ["LEVELS", "Calibration", "calibration", "interval_coverage", "shapes"]

LEVELS = (0.5, 0.8, 0.9)
"""Of the central intervals whose coverage is reported; L + 1 = 40 ranks divide by all of them."""

_SIMULATIONS, _DRAWS = 5000, 39
_ALPHA, _TINY = 0.01, 1e-16
_LATENT, _DENSITY = (0.05, 0.15), (0.15, 0.5)
"""Errors of an interval's probability up to which the light is green, and above which it is red."""
_CURVES = 12

_SOURCE = (
    "Talts et al. 2018, simulation-based calibration; Säilynoja et al. 2022, p-value and band; Modrák et al. 2025, "
    "test quantities; Kuiper 1960, size of the error. Limits are ours: 0.05 and 0.15 of a latent, where 90 % intervals "
    "of too narrow a guide miss more than twice as often as they say; 0.15 and 0.5 of a log-density"
)
_ADVICE = {
    "too narrow": "The guide is overconfident: [train with an objective that covers more mass ({iwelbo, dreg, vimco, "
    "rws}, with more particles), or ]give it a richer family (full covariance, a flow; autoregressive if it is "
    "discrete).",
    "too wide": "The guide is wider than the posterior: train longer; a posterior that depends on x more sharply than "
    "the encoder can say needs a larger encoder.",
    "too low": "The guide is off in location: train longer or with a larger encoder[; wake-sleep ({rws sleep=1}) "
    "trains it on data the model makes].",
}
_ADVICE["too high"] = _ADVICE["too low"]
_TOGETHER = (
    "Each latent by itself is better calibrated than what all of them say of x together: the guide misses correlations "
    "between latents (a richer family: full covariance, a flow, more layers), or does not use x where the model does."
)


@dataclass(frozen=True, kw_only=True)
class Band:
    """Bounds at each point on the distribution function of uniform ranks less that of a uniform, which it keeps to
    everywhere with probability ``level``."""

    lower: list[float]
    upper: list[float]
    level: float


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A latent or a log-density: p of uniform ranks, the error of an interval's probability beyond noise, what its
    ranks look like (None within noise), and by level the share of truths in central intervals."""

    name: str
    p: float
    error: float
    shape: str | None
    coverage: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """p of all quantities together, and the mean coverage over latents by level; the band at ``points``; every
    quantity; of those of the smallest p the curves in the band and histograms of ranks in 20 bins."""

    num_simulations: int
    num_draws: int
    p: float
    coverage: dict[str, float]
    points: list[float]
    band: Band
    quantities: list[Quantity]
    curves: dict[str, list[float]]
    histograms: dict[str, list[int]]


@asks("Is the guide calibrated on data the model makes?")
def calibration(case: Case) -> Finding[Calibration] | None:
    """Simulation-based calibration of the guide of a datum's latents, and the coverage of its central intervals.

    The number is the largest error of the probability of an interval beyond noise, of the latent or log-density that is
    farthest beyond its own limits. Green up to 0.05 of a latent and 0.15 of a log-density; red above 0.15 and 0.5. An
    exact guide has 0 in all but 1 % of diagnoses. None for a pair without a normalised density to simulate from, with
    an exact guide, or without latents of a datum.
    """
    pair = case.pair
    if not pair.has_density or pair.exact_guide or not _amortised(case):
        return None
    case.check_spread(case.local_latents)
    case.check_divisible("simulation-based calibration")
    ranks = simulated_ranks(pair, case.batch, _SIMULATIONS, _DRAWS, progress=case.progress)
    found, limits = _calibration(ranks), [_LATENT] * ranks.num_latents + [_DENSITY] * len(DENSITIES)
    worst, (least, most) = max(zip(found.quantities, limits, strict=True), key=lambda each: each[0].error / each[1][0])
    number = worst.error
    status: Status = "good" if number <= least else "warn" if number <= most else "bad"
    advice = _TOGETHER if worst.name in DENSITIES else _ADVICE.get(str(worst.shape), "")
    return Finding(
        status=status,
        number=number,
        threshold=least,
        direction="at most",
        quantity="error of a probability",
        source=_SOURCE,
        meaning=f"error beyond noise in the probability of an interval, {_in_words(worst)}; "
        f"{_coverage_in_words(ranks)}. Ranks of {len(limits):,} quantities of "
        f"{_SIMULATIONS:,} simulated data among {_DRAWS} draws are uniform with {_p_in_words(found.p)}",
        advice="" if status == "good" else advised(case, advice),
        details=found,
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


def _points(ranks: Ranks) -> Tensor:
    return torch.arange(1, ranks.num_draws + 1, dtype=torch.float64) / (ranks.num_draws + 1)


def _p_in_words(p: float) -> str:
    return f"p = {p:.2g}" if p > _TINY else f"p below {_TINY:g}"


def _in_words(worst: Quantity) -> str:
    if not worst.error:
        return "largest over latents and log-densities"
    return f"largest for {worst.name}{'' if worst.name in DENSITIES else f', {worst.shape}'}"


def _coverage_in_words(ranks: Ranks) -> str:
    inside = _inside(ranks, LEVELS[-1])[:, : ranks.num_latents].double()  # (N, F)
    each, whole = inside.mean(0), inside.mean(1)
    error, least = standard_error(whole), int(each.argmin())
    worst = f", of {ranks.names[least]} in {float(each[least]):.1%}" if ranks.num_latents > 1 else ""
    return f"{LEVELS[-1]:.0%} intervals of latents hold the truth in {float(whole.mean()):.1%} ± {error:.1%}{worst}"


def _calibration(ranks: Ranks) -> Calibration:
    L, num, quantities = ranks.num_draws, len(ranks.values), _quantities(ranks)
    difference, (lower, upper), points = ecdf_difference(ranks.values, L), ecdf_band(num, L), _points(ranks)
    latents = quantities[: ranks.num_latents]
    order = sorted(range(len(quantities)), key=lambda index: (quantities[index].p, -quantities[index].error))
    shown = {ranks.names[index]: index for index in order[:_CURVES]}
    return Calibration(
        num_simulations=num,
        num_draws=L,
        p=min(1.0, len(quantities) * min(one.p for one in quantities)),
        coverage={str(level): sum(one.coverage[str(level)] for one in latents) / len(latents) for level in LEVELS},
        points=points.tolist(),
        band=Band(lower=(lower / num - points).tolist(), upper=(upper / num - points).tolist(), level=0.95),
        quantities=quantities,
        curves={name: difference[:, index].tolist() for name, index in shown.items()},
        histograms={
            name: (ranks.values[:, index] * 20 // (L + 1)).bincount(minlength=20).tolist()
            for name, index in shown.items()
        },
    )


def _quantities(ranks: Ranks) -> list[Quantity]:
    noise = interval_noise(len(ranks.values), _ALPHA / len(ranks.names))
    error = (interval_error(ranks.values, ranks.num_draws) - noise).clamp_min(0).tolist()
    p, kinds = uniformity_p(ranks.values, ranks.num_draws).tolist(), shapes(ranks)
    coverage = {str(level): interval_coverage(ranks, level).tolist() for level in LEVELS}
    return [
        Quantity(
            name=name,
            p=p[index],
            error=error[index],
            shape=kinds[index] if error[index] > 0 else None,
            coverage={level: of[index] for level, of in coverage.items()},
        )
        for index, name in enumerate(ranks.names)
    ]
