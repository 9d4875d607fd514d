"""Where does the bound lose? What the guide leaves of log p(x), in two parts (:mod:`ppgen.diagnostics.local`).

    log p(x) - ELBO(q)   =   log p(x) - ELBO(q*)   +   ELBO(q*) - ELBO(q)
    inference gap            approximation gap         amortisation gap                 (nats, of one datum)

q* is the best of the guide's family for that datum: the first part is the family's fault, the second is that of the
network that has to answer for every datum. Each ELBO is log p(x) - KL(q || p(z | x)), so that the inference gap is the
divergence of the guide from the posterior. log p(x) is the largest of the K-sample bounds that the guide, q*, a
Gaussian with full covariance and a flow of it give, averaged over the data; it errs downward, and the gaps with it.

Cremer, Li and Duvenaud, Inference suboptimality in variational autoencoders, ICML 2018.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.finding import Finding, Real, Status
from ppgen.diagnostics.local import LocalWeights, local_log_weights
from ppgen.diagnostics.question import asks
from ppgen.evaluation.case import Case
from ppgen.pairs.reductions import log_mean_exp
from ppgen.pairs.rows import num_rows

__all__ = ["Gaps", "gaps"]

_NUM_DATA = 32
_SMALL = 1.0
"""Nats of the inference gap up to which the light is green."""
_WORST = 10
_WORTH = 0.01
"""Nats more than a full covariance from which a flow is spoken of."""

_SOURCE = (
    "Cremer et al. 2018, section 3. Limits are ours: 1 nat, and log K, as importance sampling needs of the order of "
    "exp(KL) draws (Chatterjee and Diaconis 2018)"
)
_AMORTISATION = (
    "Most of it is not the family's: the guide could answer better within it. Train the guide longer or make its "
    "networks larger, and by the bound itself: a weight of the KL other than 1 teaches it another posterior. Data that "
    "matter can be optimised one by one from the guide's answer."
)
_APPROXIMATION = (
    "Most of it is the family's: a richer guide (full covariance, a flow, more layers; of discrete latents an "
    "autoregressive one)[, or an objective that is less bound to it ({iwelbo, dreg, vimco})]."
)


@dataclass(frozen=True, kw_only=True)
class EachGap:
    """The two parts of each datum's gap, nats."""

    approximation_gap: list[Real]
    amortisation_gap: list[Real]


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Means over data in nats: the gaps, the Monte Carlo standard error of the amortisation gap, the ELBO of the guide
    (``amortised``), of the best found in its family (``own``), of a full covariance (``full``) and of a flow of that
    (``flow``), and log p(x); and the data of the largest gap, that first."""

    inference_gap: Real
    approximation_gap: Real
    amortisation_gap: Real
    standard_error: Real
    elbo: dict[str, Real]
    log_evidence: Real
    worst: list[int]
    per_datum: EachGap


@asks("Does the bound lose little to the guide?")
def gaps(case: Case) -> Finding[Gaps] | None:
    """The inference gap of up to 32 data in nats, and its two parts.

    Green up to 1 nat, red above log K. None for an implicit pair, one with an exact guide, and one without latents of
    a datum. Latents outside the data plate are held at one draw.

    Raises:
        UsageError: a site's distribution cannot be moved, or a bound is not finite (the datum is named).
    """
    if not case.pair.has_approximate_guide or not case.local_latents:
        return None
    case.check_spread(case.local_latents)
    case.check_divisible("local optimisation")
    batch = case.first(_NUM_DATA)
    found = _gaps(local_log_weights(case.pair, batch, case.num_particles, progress=case.progress))
    number, limit = found.inference_gap, math.log(case.num_particles)
    status: Status = "good" if number <= _SMALL else "warn" if number <= limit else "bad"
    advice = _AMORTISATION if found.amortisation_gap > found.approximation_gap else _APPROXIMATION
    return Finding(
        status=status,
        number=number,
        threshold=_SMALL,
        direction="at most",
        unit="nats",
        source=_SOURCE,
        meaning=f"nats that the guide leaves of log p(x), over {num_rows(batch)} {case.split} data: "
        f"{found.approximation_gap:.2f} by its family and {found.amortisation_gap:.2f} by amortisation"
        f"{_won(found.elbo)}",
        advice="" if status == "good" else advised(case, advice),
        details=found,
    )


def _gaps(found: LocalWeights) -> Gaps:
    log_w: dict[str, Tensor] = {name: weights for name, weights in vars(found).items() if weights is not None}
    elbo = {name: weights.mean(0) for name, weights in log_w.items()}  # (B,)
    evidence = max((log_mean_exp(weights) for weights in log_w.values()), key=lambda value: float(value.mean()))
    inference, approximation = evidence - elbo["amortised"], evidence - elbo["own"]
    amortisation = inference - approximation
    return Gaps(
        inference_gap=float(inference.mean()),
        approximation_gap=float(approximation.mean()),
        amortisation_gap=float(amortisation.mean()),
        standard_error=_error(log_w["own"]) + _error(log_w["amortised"]),
        elbo={name: float(value.mean()) for name, value in elbo.items()},
        log_evidence=float(evidence.mean()),
        worst=inference.argsort(descending=True)[:_WORST].tolist(),
        per_datum=EachGap(approximation_gap=approximation.tolist(), amortisation_gap=amortisation.tolist()),
    )


def _error(log_w: Tensor) -> float:
    """The Monte Carlo standard error of the mean bound, in nats."""
    return math.sqrt(float(log_w.var(0).sum()) / len(log_w)) / log_w.shape[1]


def _won(elbo: Mapping[str, float]) -> str:
    won = elbo.get("full", elbo["own"]) - elbo["own"]
    by_flow = elbo.get("flow", elbo["own"]) - elbo["own"]
    if by_flow > max(won, 0.0) + _WORTH:
        covariance = f"a full covariance would win {won:.2f}" if won > 0 else "a full covariance would win nothing"
        return f"; {covariance}, a flow {by_flow:.2f}"
    if won > 0:
        return f"; a full covariance would win {won:.2f}"
    return "; no Gaussian of full covariance was found better" if "full" in elbo else ""
