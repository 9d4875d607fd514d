"""Does the guide agree with a reference? Its marginals beside those of NUTS, or of an exact sum over states.

For a few data the posterior is had in another way: by the No-U-Turn sampler where latents are continuous
(:mod:`ppgen.diagnostics.chains`), and exactly, all joint states summed, where they are discrete
(:mod:`ppgen.enumeration`). Marginals are compared by the Wasserstein-1 distance and by quantiles
(:mod:`ppgen.diagnostics.distances`), in standard deviations of the reference where latents are continuous, in their own
units where they are discrete: there it is a difference of probabilities for a unit in {0, 1}. The guide's draws are
compared as they are, and with their importance weights: what a thousand draws and the model make of the guide.

A datum whose chains have not converged has no reference, and is left out by name; without any, there is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgen.diagnostics.case import Case
from ppgen.diagnostics.chains import posterior_chains
from ppgen.diagnostics.distances import wasserstein_1, weighted_quantiles
from ppgen.diagnostics.result import Finding, Status
from ppgen.diagnostics.simulation import latent_names, latent_values
from ppgen.enumeration import Enumeration
from ppgen.errors import UsageError
from ppgen.parameters import in_evaluation, isolated
from ppgen.tracing import Batch, Particles, Program
from ppgen.weights import read_particles

__all__ = ["Marginals", "marginal_errors", "reference"]

_NUM_DATA = 4
_THRESHOLD, _BAD = 0.2, 0.4
_SHARE = 0.95
_PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)

_TITLE = "Do the guide's marginals agree with a reference?"
_SOURCE = (
    "W1 bounds the error of the mean (Huggins et al. 2020): at most 0.2 of the posterior's standard deviation (or of "
    "probability, where latents are discrete), that of a guide 0.2 off, or 25 % too narrow; the reference by R-hat at "
    "most 1.05 and 100 effective draws a chain (Vehtari et al. 2021)"
)
_ADVICE = (
    "Look at which marginals are off, and how. Where importance weights mend them, use more weighted draws; where they "
    "do not, the guide lacks mass where the posterior has it: a richer guide, or an objective that covers more mass."
)


@dataclass(frozen=True, eq=False)
class Marginals:
    """A weighted sample of the latents of B data: ``values`` (N, B, F), float64, ``weight`` (N, B), sums to one."""

    values: Tensor
    weight: Tensor

    def quantiles(self) -> Tensor:
        """(5, B, F): at 0.05, 0.25, 0.5, 0.75, 0.95."""
        return weighted_quantiles(self.values, torch.tensor(_PROBABILITIES), self.weight[..., None])

    def sd(self) -> Tensor:
        """Standard deviations, (B, F)."""
        weight = self.weight[..., None]
        mean = (weight * self.values).sum(0)
        return (weight * (self.values - mean).square()).sum(0).sqrt()


@dataclass(frozen=True, eq=False)
class _Reference:
    marginals: Marginals
    names: tuple[str, ...]
    unit: Tensor  # (B, F), what errors are counted in
    rows: list[int]  # the data that have one, of those asked for
    how: str
    details: Mapping[str, Any]


def reference(case: Case) -> Finding | None:
    """The guide's marginals for the first 4 data against those of another method.

    The number is the W1 that 95 % of all marginals stay below. Green: at most 0.2. Red: above 0.4. None for an
    implicit pair, an exact guide, or a pair without latents of a datum; unknown where the chains did not converge, and
    for latents of both kinds, which neither method here serves.
    """
    if case.pair.implicit or case.pair.exact_guide or not case.local_latents or case.one.log_q.shape[1] == 1:
        return None
    few = tuple(part[:_NUM_DATA] for part in case.batch)
    shared = {name: case.one.guide_sites[name]["value"] for name in case.global_latents}
    found = _reference(case, few, shared)
    values, log_w = _guide(case, tuple(part[found.rows] for part in few), shared)
    guides = {
        "guide": Marginals(values, torch.full_like(log_w, 1 / len(log_w))),
        "weighted": Marginals(values, log_w.softmax(0)),
    }
    errors = {name: marginal_errors(guide, found.marginals) / found.unit for name, guide in guides.items()}
    number, weighted = (float(error.quantile(_SHARE)) for error in errors.values())
    status: Status = "good" if number <= _THRESHOLD else "warn" if number <= _BAD else "bad"
    worst = int(errors["guide"].amax(0).argmax())
    return Finding(
        question="reference",
        title=_TITLE,
        status=status,
        number=number,
        threshold=_THRESHOLD,
        source=_SOURCE,
        meaning=f"Wasserstein-1 distance that {_SHARE:.0%} of the marginals of {len(found.rows)} {case.split} data "
        f"stay below, against {found.how}; {weighted:.2f} with importance weights; largest for {found.names[worst]}",
        advice="" if status == "good" else _ADVICE,
        details=_details(found, guides, errors),
    )


def marginal_errors(one: Marginals, other: Marginals) -> Tensor:
    """W1 of every marginal, (B, F)."""
    return wasserstein_1(one.values, other.values, one.weight[..., None], other.weight[..., None])


def _reference(case: Case, few: Batch, shared: Mapping[str, Tensor]) -> _Reference:
    if not case.discrete:
        return _by_chains(case, few, shared)
    if len(case.discrete) == len(case.local_latents):
        return _by_enumeration(case, few)
    continuous = ", ".join(repr(name) for name in case.local_latents if name not in case.discrete)
    raise UsageError(
        f"{', '.join(map(repr, case.discrete))} is discrete and {continuous} continuous: a reference is had by NUTS "
        "for latents that are all continuous, or by enumeration for those that are all discrete."
    )


def _by_chains(case: Case, few: Batch, shared: Mapping[str, Tensor]) -> _Reference:
    if not case.pair.normalised:
        raise UsageError("the model is unnormalised: its prior, from which chains start, cannot be drawn from.")
    found = posterior_chains(case.pair, few, shared=shared, progress=case.progress)
    rows = found.converged.nonzero()[:, 0].tolist()
    if not rows:
        raise UsageError(
            f"NUTS has not converged for any of {len(few[0])} data (R-hat up to {float(found.r_hat.max()):.2f}, "
            f"effective sample size down to {float(found.effective_sample_size.min()):.0f}): no reference."
        )
    draws = found.draws[:, :, rows].flatten(0, 1)  # (M S, B, F)
    marginals = Marginals(draws, torch.full_like(draws[..., 0], 1 / len(draws)))
    left_out = f"; none for datum {', '.join(_left_out(rows, few[0]))}" if len(rows) < len(few[0]) else ""
    how = f"{len(found.draws)} chains of NUTS (R-hat at most {float(found.r_hat[rows].max()):.3f}{left_out})"
    details = {
        "method": "nuts",
        "r_hat": found.r_hat.tolist(),
        "effective_sample_size": found.effective_sample_size.tolist(),
        "divergences": found.divergences,
        "noise": _noise(found.draws[:, :, rows], marginals.sd()),
    }
    return _Reference(marginals, found.names, marginals.sd(), rows, how, details)


def _by_enumeration(case: Case, few: Batch) -> _Reference:
    with torch.no_grad(), isolated(), in_evaluation(case.pair):
        states = Enumeration.of(Program(case.pair.model, case.pair.guide), few, "a reference by enumeration")
        log_p, log_q = states.tables()
        run = states.particles()
        values, names = latent_values(run), tuple(latent_names(run))
    posterior = Marginals(values, log_p.double().softmax(0))
    off = (posterior.weight - log_q.double().softmax(0)).abs().sum(0) / 2  # (B,)
    details = {"method": "enumeration", "num_states": states.num_states, "total_variation": off.tolist()}
    how = f"the exact sum over {states.num_states:,} states"
    return _Reference(posterior, names, torch.ones_like(values[0]), [*range(len(few[0]))], how, details)


def _guide(case: Case, few: Batch, shared: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """K draws of the guide, (K, B, F), and their log-weights, (K, B)."""
    read = read_particles(case.pair, few, case.num_particles, _values_and_weights, given=shared)
    sides = [[torch.cat(parts) for parts in zip(*blocks, strict=True)] for blocks in read]
    values, log_w = (torch.cat(parts, 1) for parts in zip(*sides, strict=True))
    return values, log_w


def _values_and_weights(particles: Particles) -> tuple[Tensor, Tensor]:
    return latent_values(particles), particles.log_w.double()


def _noise(draws: Tensor, sd: Tensor) -> float:
    """How far two halves of the chains are apart, in the same measure as the number: chains (M, S, B, F)."""
    half, other = (part.flatten(0, 1) for part in draws.chunk(2))
    return float((wasserstein_1(half, other) / sd).quantile(_SHARE))


def _left_out(rows: list[int], few: Tensor) -> list[str]:
    return [str(row) for row in range(len(few)) if row not in rows]


def _details(found: _Reference, guides: Mapping[str, Marginals], errors: Mapping[str, Tensor]) -> dict[str, Any]:
    exact = found.marginals.quantiles()
    quantiles = {name: guide.quantiles() for name, guide in guides.items()}
    return {
        **found.details,
        "data": found.rows,
        "names": list(found.names),
        "probabilities": list(_PROBABILITIES),
        "quantiles": {name: q.tolist() for name, q in {"reference": exact, **quantiles}.items()},
        "wasserstein": {name: error.tolist() for name, error in errors.items()},
        "quantile_error": {name: float(((q - exact).abs() / found.unit).mean()) for name, q in quantiles.items()},
    }
