"""How well is log p(x) known? Stochastic bounds from below and above (:mod:`ppgen.chains.evidence`)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.chains.evidence import Bounds, Budget, evidence_bounds
from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.finding import Finding, Real
from ppgen.diagnostics.question import asks
from ppgen.evaluation.case import Case
from ppgen.pairs.reductions import log_mean_exp, standard_error
from ppgen.pairs.rows import num_rows

__all__ = ["Sandwich", "sandwich"]

_NUM_DATA, _NUM_SIMULATED = 16, 8
_NARROW = 1.0
"""Nats up to which the light is green."""

_SOURCE = "Grosse, Ghahramani and Adams 2015 (bidirectional Monte Carlo); the limit of 1 nat is ours"
_WIDE = (
    "Neither bound is to be trusted to a nat: more powers close them (ppgen.chains.evidence.evidence_bounds "
    "with a Budget of a larger num_powers, then of more leapfrogs)."
)
_SHORT = (
    "What the guide's own draws say of log p(x) is too low by that much: report annealed bounds beside them, or a "
    "guide that proposes better (a richer one[, or one trained with {iwelbo, dreg, vimco, rws}])."
)


@dataclass(frozen=True, kw_only=True)
class Sandwich:
    """Nats: the mean width between the bounds of simulated data, with its standard error (None of a single one); the
    bounds of each of them, and the lower one of each datum; how far the guide's bound is below that, on average and
    datum by datum (None where latents are held); and the rate of acceptance at each power."""

    width: Real
    standard_error: float | None
    simulated_lower: list[Real]
    simulated_upper: list[Real]
    lower: list[Real]
    shortfall: float | None
    shortfall_per_datum: list[Real] | None
    acceptance: list[Real]


@asks("Is log p(x) known well?")
def sandwich(case: Case) -> Finding[Sandwich] | None:
    """The width between the bounds on log p(x) of 8 simulated data; and how far the guide's K-sample bound of up to 16
    data is below the annealed one, which is the number where it alone is too large.

    Green where both are at most 1 nat, else yellow. None for an implicit or unnormalised pair, one with an exact guide,
    and one without latents of a datum. Latents outside the data plate are held at one draw, and the K-sample bound,
    which is over them all, is then left out.

    Raises:
        UsageError: as :func:`ppgen.chains.evidence.evidence_bounds`.
    """
    pair = case.pair
    if not pair.has_density or pair.exact_guide or not case.local_latents:
        return None
    case.check_divisible("annealing")
    batch = case.first(_NUM_DATA)
    made, budget = min(_NUM_SIMULATED, num_rows(batch)), Budget()
    found = evidence_bounds(pair, batch, budget, num_simulated=made, progress=case.progress)
    by_guide = None if case.global_latents else log_mean_exp(case.log_w[:, : len(found.lower)])
    details = _details(found, None if by_guide is None else found.lower - by_guide)
    short = details.shortfall
    wide, low = details.width > _NARROW, short is not None and short > _NARROW
    is_short = low and not wide
    return Finding(
        status="warn" if wide or low else "good",
        number=short if is_short else details.width,
        threshold=_NARROW,
        direction="at most",
        unit="nats",
        source=_SOURCE,
        meaning=_meaning(case, details, budget, is_short=is_short),
        advice=advised(case, _WIDE if wide else _SHORT if low else ""),
        details=details,
    )


def _meaning(case: Case, details: Sandwich, budget: Budget, *, is_short: bool) -> str:
    """What the number is: how far the guide's bound is below the annealed one, or the width between the bounds."""
    lower, short = details.lower, details.shortfall
    made = (
        f"{len(details.simulated_lower)} simulated data ({budget.num_powers} powers, {budget.num_chains} chains each)"
    )
    below = f"From below, {len(lower)} {case.split} data have {sum(lower) / len(lower):.2f} nats"
    by = f"the guide's bound of K = {case.num_particles:,}"
    if is_short:
        return (
            f"nats that {by} is below the annealed one, over {len(lower)} {case.split} data; an upper and a lower "
            f"annealed bound are {details.width:.2f} apart, over {made}. {below}"
        )
    beside = "" if short is None else f"; {by} is {abs(short):.2f} {'below' if short > 0 else 'above'}"
    return f"nats between an upper and a lower bound on log p(x), over {made}. {below}{beside}"


def _details(found: Bounds, short: Tensor | None) -> Sandwich:
    """With how far the guide's bound is below the annealed one, (B,); None where these are given different latents."""
    width = found.simulated_upper - found.simulated_lower
    return Sandwich(
        width=float(width.mean()),
        standard_error=standard_error(width) if len(width) > 1 else None,
        simulated_lower=found.simulated_lower.tolist(),
        simulated_upper=found.simulated_upper.tolist(),
        lower=found.lower.tolist(),
        shortfall=None if short is None else float(short.mean()),
        shortfall_per_datum=None if short is None else short.tolist(),
        acceptance=found.acceptance.tolist(),
    )
