"""Does the guide propose well? Pareto k-hat, effective sample size, and gaps between bounds, datum by datum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.finding import Finding, KHat, Real, Status
from ppgen.diagnostics.question import asks
from ppgen.diagnostics.weights import effective_sample_size, k_threshold, pareto_k, weight_perplexity, without_weights
from ppgen.evaluation.bounds import bounds_of, sizes_to
from ppgen.evaluation.case import Case

__all__ = ["NotFinite", "Weights", "importance"]

_WORST = 10
_SHARE = 0.95
"""Of the data whose k-hat has to be below the threshold for a green light."""

_SOURCE = "Vehtari et al. 2024, Pareto smoothed importance sampling: k-hat at most min(1 - 1/log10 K, 0.7)"
_ADVICE = (
    "Raise num_particles: where k-hat stays, the guide's tails are too light. Then a richer guide (full covariance, a "
    "flow, more layers)[, or an objective that covers more mass ({iwelbo, dreg, vimco, rws}, with more particles)]."
)
_OF_DISCRETE = (
    "Raise num_particles: where k-hat stays, the guide gives too little to states that the posterior takes. Then a "
    "guide whose units know of each other (more layers, each given the one before): units that are independent given "
    "the datum miss what goes together[; or an objective that covers more mass ({vimco, rws}, with more particles)]."
)


@dataclass(frozen=True, kw_only=True)
class EachWeights:
    """Of each datum: the k-hat, the effective sample size and the perplexity of its weights, in draws, and the gap
    between its bounds of K particles and of one, in nats."""

    k: list[KHat]
    effective_sample_size: list[Real]
    weight_perplexity: list[Real]
    bound_gap: list[Real]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The median of the k-hats, the shares of them above the threshold and above 0.7; means over data; the mean bound
    in nats by the number of particles; and the data of the largest k-hat, that first."""

    median: Real
    share_above_threshold: float
    share_above_limit: Annotated[float, Field(alias="share_above_0.7")]
    effective_sample_size: Real
    weight_perplexity: Real
    bounds: dict[str, Real]
    bound_gap: Real
    worst: list[int]
    per_datum: EachWeights


@dataclass(frozen=True, kw_only=True)
class NotFinite:
    """The data with a log-weight that is NaN or +inf, or none that is finite."""

    not_finite: list[int]


@asks("Do the guide's draws, weighted, stand for the posterior?")
def importance(case: Case) -> Finding[Weights | NotFinite] | None:
    """The k-hat of each datum's log-weights (:mod:`ppgen.diagnostics.weights`), and what goes with it.

    The number is the k-hat that 95 % of the data stay below. Green: it is below the threshold of K draws. Yellow: that
    of half the data is. Red: of more than half of the data it is not. None for an implicit pair, which has no weights,
    and for one with an exact guide, whose weights are equal.
    """
    if not case.pair.has_approximate_guide:
        return None
    broken = _broken(case.log_w)
    if broken:
        return _not_finite(case, broken)
    case.check_spread(case.local_latents or case.global_latents)
    k, threshold = pareto_k(case.log_w), k_threshold(case.num_particles)
    number, median = float(k.quantile(_SHARE)), float(k.median())
    status: Status = "good" if number <= threshold else "warn" if median <= threshold else "bad"
    above = float((k > threshold).double().mean())
    return Finding(
        status=status,
        number=number,
        threshold=threshold,
        direction="at most",
        quantity="k-hat",
        source=_SOURCE,
        meaning=f"Pareto k-hat that {_SHARE:.0%} of {len(k):,} {case.split} data stay below, by K = "
        f"{case.num_particles:,} draws each{_given(case)}; the median is {median:.2f}, and {above:.1%} of the data are "
        "above",
        advice="" if status == "good" else advised(case, _OF_DISCRETE if case.discrete else _ADVICE),
        details=_details(case.log_w, k, threshold),
    )


def _given(case: Case) -> str:
    names = case.global_latents
    return f", given as many draws of {', '.join(names)} (global_importance asks about these)" if names else ""


def _details(log_w: Tensor, k: Tensor, threshold: float) -> Weights:
    size, perplexity = effective_sample_size(log_w), weight_perplexity(log_w)
    sizes = sizes_to(len(log_w))
    curve = bounds_of(log_w, sizes)  # (len(sizes), B)
    worst = k.argsort(descending=True)[:_WORST]
    return Weights(
        median=float(k.median()),
        share_above_threshold=float((k > threshold).double().mean()),
        share_above_limit=float((k > 0.7).double().mean()),
        effective_sample_size=float(size.mean()),
        weight_perplexity=float(perplexity.mean()),
        bounds=dict(zip(map(str, sizes), curve.mean(1).tolist(), strict=True)),
        bound_gap=float((curve[-1] - curve[0]).mean()),
        worst=worst.tolist(),
        per_datum=EachWeights(
            k=k.tolist(),
            effective_sample_size=size.tolist(),
            weight_perplexity=perplexity.tolist(),
            bound_gap=(curve[-1] - curve[0]).tolist(),
        ),
    )


def _broken(log_w: Tensor) -> list[int]:
    """The data with a log-weight that is NaN or +inf, or with none that is finite."""
    found: list[int] = without_weights(log_w).nonzero()[:, 0].tolist()
    return found


def _not_finite(case: Case, data: list[int]) -> Finding[Weights | NotFinite]:
    named = ", ".join(map(str, data[:_WORST])) + (", ..." if len(data) > _WORST else "")
    return Finding(
        status="bad",
        meaning=f"log-weights of {len(data):,} of {case.num_data:,} {case.split} data are not finite: datum {named}",
        advice="Look at the guide's output for these data, and at the model's at the guide's draws.",
        details=NotFinite(not_finite=data),
    )
