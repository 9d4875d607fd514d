"""Does the guide agree with a reference? Its marginals beside those of NUTS, or of an exact sum over states.

For a few data the posterior is had in another way: by the No-U-Turn sampler where latents are continuous
(:mod:`ppgen.diagnostics.chains`), and exactly, all joint states summed, where they are discrete
(:mod:`ppgen.objectives.discrete.enumeration`). Marginals are compared (:mod:`ppgen.diagnostics.distances`) by the
largest error V of the probability of any interval, by the Wasserstein-1 distance and by quantiles, the latter two in
standard deviations of the reference where latents are continuous, in their own units where they are discrete. The
guide's draws are compared as they are, and with their importance weights: what a thousand draws and the model make of
the guide.

The light goes by V, which a guide that is off to a side by d standard deviations and one that is too narrow by c share
with :mod:`ppgen.diagnostics.questions.calibration`. There it is an average over data, here it is that of single data,
where an error of location shows that others would make up for; so the limits are 0.15 and 0.3: d = 0.38 and 0.77, c =
0.74 and 0.53, at which 90 % intervals hold 77 % and 62 %.

Two samples of one distribution differ, by noise that falls with the root of their sizes. Halves of a sample differ by
about twice the noise of the whole, of independent chains as of independent draws. With V_r between halves of the
reference's chains and V_q between halves of the guide's draws,

    V' = max(0, V^2 - mean (V_r^2 + V_q^2) / 4)^(1/2),        the mean over marginals,

is V beyond noise. Of 800 simulated exact guides, 1,000 draws each against 400, the V' that 95 % of the marginals stay
below was at most 0.1.

A datum whose chains have not converged has no reference, and is left out by name; without any, there is no answer.

Latents of the whole data set have one posterior, given all training data: where a pair has no others, theirs is held
against NUTS on all of them, and the guide's draws are weighted by all the data. Beside latents of data they are held
where the guide puts them, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import pyro
import torch
from torch import Tensor

from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.chains import PosteriorChains, joint_chains, posterior_chains
from ppgen.diagnostics.finding import Finding, Real, Status
from ppgen.diagnostics.marginals import PROBABILITIES, Marginals, interval_errors, marginal_errors
from ppgen.diagnostics.question import asks
from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.machine.progress import track
from ppgen.objectives.discrete.enumeration import Enumeration
from ppgen.pairs.latents import latent_names, side_by_side
from ppgen.pairs.log_weights import datum_width, read_particles
from ppgen.pairs.looking import looked_at, looking
from ppgen.pairs.rows import num_rows, take_rows
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = ["Compared", "Enumerated", "Sampled", "reference"]

_NUM_DATA, _LEAST_DRAWS = 4, 1000
_THRESHOLD, _BAD = 0.15, 0.3
_SHARE = 0.95

_WIDEST, _CELLS, _OTHER = 500, 2**22, 200
"""Of latents of the whole data set: most numbers that are sampled; and most in all data at once, those of a datum's
largest site and what else it costs."""

_SOURCE = (
    "Kuiper 1960, a lower bound on the total variation; limits are ours: at 0.15 a guide is 0.4 standard deviations "
    "off or a quarter too narrow, at 0.3 0.8 off or half as wide. The reference by R-hat at most 1.05 and 100 "
    "effective draws a chain (Vehtari et al. 2021)"
)
_ADVICE = (
    "Look at which marginals are off, and how. Where importance weights mend them, use more weighted draws; where they "
    "do not, the guide lacks mass where the posterior has it: a richer guide (full covariance, a flow)[, or an "
    "objective that covers more mass ({iwelbo, dreg, vimco, rws})]."
)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The marginals of ``names`` of each of ``data`` (none: one row, of all data together): quantiles at
    ``probabilities`` of the reference, the guide and the weighted guide; of the latter two V and its noise, and W1 and
    the mean error of a quantile in the reference's unit."""

    data: list[int]
    names: list[str]
    probabilities: list[float]
    quantiles: dict[str, list[list[list[Real]]]]
    interval_error: dict[str, list[list[Real]]]
    noise: dict[str, Real]
    wasserstein: dict[str, list[list[Real]]]
    quantile_error: dict[str, Real]


@dataclass(frozen=True, kw_only=True)
class Sampled(Compared):
    """By NUTS: R-hat and effective sample size of every marginal, and how many trajectories diverged."""

    method: Literal["nuts"] = "nuts"
    r_hat: list[list[Real]]
    effective_sample_size: list[list[Real]]
    divergences: int


@dataclass(frozen=True, kw_only=True)
class Enumerated(Compared):
    """By the sum over all states: how many there are, and the total variation between guide and posterior."""

    method: Literal["enumeration"] = "enumeration"
    num_states: int
    total_variation: list[Real]


@dataclass(frozen=True, eq=False)
class _Reference:
    marginals: Marginals
    names: tuple[str, ...]
    noise: Tensor  # (B, F), the V between halves of its sample; 0 of an exact one
    unit: Tensor  # (B, F), what distances are counted in
    unit_name: str
    rows: list[int]  # the data that have one, of those asked for; none: it is of all data together
    whose: str
    how: str
    details: Callable[..., Sampled | Enumerated]  # of what both methods have


@asks("Do the guide's marginals agree with a reference?")
def reference(case: Case) -> Finding[Sampled | Enumerated] | None:
    """The guide's marginals for the first 4 data against those of another method; where all latents are of the whole
    data set, those given all training data.

    The number is the V beyond noise that 95 % of all marginals stay below. Green: at most 0.15. Red: above 0.3. None
    for an implicit pair, an exact guide, or a pair without latents; unknown where the chains did not converge, and for
    latents of both kinds, which neither method here serves.
    """
    if not case.pair.has_approximate_guide or not (case.local_latents or case.global_latents):
        return None
    each = case.local_latents and case.one.log_q.shape[1] > 1
    found, (values, log_w) = _of_each(case) if each else _of_all(case)
    guides = {
        "guide": Marginals(values, torch.full_like(log_w, 1 / len(log_w))),
        "weighted": Marginals(values, log_w.softmax(0)),
    }
    errors = {name: interval_errors(guide, found.marginals) for name, guide in guides.items()}
    number, weighted = (_beyond_noise(errors[name], guide, found) for name, guide in guides.items())
    distances = {name: marginal_errors(guide, found.marginals) / found.unit for name, guide in guides.items()}
    status: Status = "good" if number <= _THRESHOLD else "warn" if number <= _BAD else "bad"
    worst = int(errors["guide"].amax(0).argmax())
    return Finding(
        status=status,
        number=number,
        threshold=_THRESHOLD,
        direction="at most",
        quantity="error of a probability",
        source=_SOURCE,
        meaning=f"error beyond noise in the probability of an interval that {_SHARE:.0%} of the marginals of "
        f"{found.whose} stay below, against {found.how}; {weighted:.2f} with importance weights; "
        f"largest for {found.names[worst]}. The Wasserstein-1 distance that as many stay below is "
        f"{float(distances['guide'].quantile(_SHARE)):.2f} {found.unit_name}",
        advice="" if status == "good" else advised(case, _ADVICE),
        details=_details(found, guides, errors, distances),
    )


def _of_each(case: Case) -> tuple[_Reference, tuple[Tensor, Tensor]]:
    """The latents of a few data: the reference, and draws of the guide with their log-weights."""
    case.check_divisible("a reference posterior")
    few = case.first(_NUM_DATA)
    found = _reference(case, few)
    return found, _guide(case, take_rows(few, found.rows))


def _of_all(case: Case) -> tuple[_Reference, tuple[Tensor, Tensor]]:
    """The latents that all training data share: the reference, and draws of the guide with their log-weights."""
    _check_prior(case)
    names = case.global_latents or case.local_latents
    case.check_spread(names)
    case.check_all_data()
    batch = case.data.draw(case.data.rows("train"))
    one = looked_at(case.pair, batch, seed=case.seed)
    _check_joint(names, one)
    chains = joint_chains(case.pair, batch, progress=case.progress)
    if not bool(chains.converged.all()):
        raise UsageError(_not_converged(chains, f"{', '.join(names)} given {num_rows(batch):,} training data"))
    found = _from_chains(chains, [0], f"{', '.join(names)}, given all {num_rows(batch):,} training data,")
    return replace(found, rows=[]), _guide_of_all(case, batch, one)


def _check_prior(case: Case) -> None:
    if not case.pair.has_prior:
        raise UsageError("the model is unnormalised: its prior, from which chains start, cannot be drawn from.")


def _check_joint(names: list[str], one: Particles) -> None:
    """The latents of all data are continuous, and few enough.

    Raises:
        UsageError: one is discrete (it is named); they have too many numbers, or there are too many data.
    """
    for name in names:
        if one.guide_sites[name]["fn"].support.is_discrete:
            raise UsageError(f"{name!r} is discrete and of the whole data set: NUTS moves continuous latents alone.")
    size, cells = _shared(one)[0].shape[-1], _width(one) + num_rows(one.batch) * _OTHER
    if size > _WIDEST or cells > _CELLS:
        raise UsageError(
            f"{', '.join(names)} have {size:,} numbers, given {num_rows(one.batch):,} data, which is more than the "
            f"question may cost ({_WIDEST} numbers, {_CELLS // _OTHER:,} data at most): run pyro.infer.MCMC with "
            "NUTS(pair.model) on a larger budget, and hold ppgen.to_inference_data of both against each other."
        )


def _reference(case: Case, few: Batch) -> _Reference:
    if not case.discrete:
        return _by_chains(case, few)
    if len(case.discrete) == len(case.local_latents):
        return _by_enumeration(case, few)
    continuous = ", ".join(repr(name) for name in case.local_latents if name not in case.discrete)
    raise UsageError(
        f"{', '.join(map(repr, case.discrete))} is discrete and {continuous} continuous: NUTS gives a reference "
        "for latents that are all continuous, or by enumeration for those that are all discrete."
    )


def _by_chains(case: Case, few: Batch) -> _Reference:
    _check_prior(case)
    found = posterior_chains(case.pair, few, shared=case.one.held, progress=case.progress)
    rows = found.converged.nonzero()[:, 0].tolist()
    if not rows:
        raise UsageError(_not_converged(found, f"any of {num_rows(few)} data"))
    left_out = f"; none for datum {', '.join(_left_out(rows, few[0]))}" if len(rows) < num_rows(few) else ""
    return _from_chains(found, rows, f"{len(rows)} {case.split} data", left_out)


def _not_converged(found: PosteriorChains, what: str) -> str:
    return (
        f"NUTS has not converged for {what} (R-hat up to {float(found.r_hat.max()):.2f}, effective sample size down to "
        f"{float(found.effective_sample_size.min()):.0f}): no reference."
    )


def _from_chains(found: PosteriorChains, rows: list[int], whose: str, left_out: str = "") -> _Reference:
    """The rows of the chains' posteriors that may be called a reference."""
    draws = found.draws[:, :, rows].flatten(0, 1)  # (M S, B, F), chain by chain
    marginals = Marginals(draws, torch.full_like(draws[..., 0], 1 / len(draws)))
    how = f"{len(found.draws)} chains of NUTS (R-hat at most {float(found.r_hat[rows].max()):.3f}{left_out})"
    details = partial(
        Sampled,
        r_hat=found.r_hat.tolist(),
        effective_sample_size=found.effective_sample_size.tolist(),
        divergences=found.divergences,
    )
    noise, unit = interval_errors(*marginals.halves()), marginals.sd()
    return _Reference(marginals, found.names, noise, unit, "standard deviations", rows, whose, how, details)


def _by_enumeration(case: Case, few: Batch) -> _Reference:
    with looking(case.pair):
        states = Enumeration.of(Program(case.pair.model, case.pair.guide), few, "a reference by enumeration")
        log_p, _, log_q = states.tables()
        run = states.particles()
        values, names = side_by_side(run).double(), tuple(latent_names(run))
    posterior = Marginals(values, log_p.double().softmax(0))
    off = (posterior.weight - log_q.double().softmax(0)).abs().sum(0) / 2  # (B,)
    details = partial(Enumerated, num_states=states.num_states, total_variation=off.tolist())
    how = f"the exact sum over {states.num_states:,} states"
    noise, unit, rows = torch.zeros_like(values[0]), torch.ones_like(values[0]), [*range(num_rows(few))]
    whose = f"{len(rows)} {case.split} data"
    return _Reference(posterior, names, noise, unit, "of the latents' values", rows, whose, how, details)


def _guide(case: Case, few: Batch) -> tuple[Tensor, Tensor]:
    """Draws of the guide, K but 1,000 at least, (K, B, F), and their log-weights, (K, B)."""
    num = max(case.num_particles, _LEAST_DRAWS)
    read = read_particles(case.pair, few, num, _values_and_weights, given=case.one.held)
    sides = [[torch.cat(parts) for parts in zip(*blocks, strict=True)] for blocks in read]
    values, log_w = (torch.cat(parts, 1) for parts in zip(*sides, strict=True))
    return values, log_w


def _guide_of_all(case: Case, batch: Batch, one: Particles) -> tuple[Tensor, Tensor]:
    """The same of the latents that all data share, (K, 1, F) and (K, 1)."""
    num = max(case.num_particles, _LEAST_DRAWS)
    block = max(1, _CELLS // _width(one))
    with looking(case.pair), pyro.validation_enabled(False):
        starts = track(range(0, num, block), "posterior", case.progress)
        runs = [_shared(run_particles(one.program, batch, min(block, num - done))) for done in starts]
    values, log_w = (torch.cat(parts) for parts in zip(*runs, strict=True))
    return values, log_w


def _width(one: Particles) -> int:
    """Numbers in the largest site, of all data together."""
    return datum_width(one) * one.log_w.shape[1]


def _shared(particles: Particles) -> tuple[Tensor, Tensor]:
    """The numbers of the latents that all data share, (K, 1, F), and a draw's log-weight by all data, (K, 1)."""
    outside, log_w = particles.outside, particles.log_w.double().sum(1, keepdim=True)
    if outside is None:
        return side_by_side(particles).double(), log_w
    return side_by_side(outside).double(), log_w + outside.log_w.double()


def _values_and_weights(particles: Particles) -> tuple[Tensor, Tensor]:
    return side_by_side(particles).double(), particles.log_w.double()


def _noise(guide: Marginals, found: _Reference) -> float:
    """The root mean square over marginals of what V is between samples of one distribution."""
    halves = interval_errors(*guide.halves()).square() + found.noise.square()  # (B, F)
    return math.sqrt(float(halves.mean())) / 2


def _beyond_noise(errors: Tensor, guide: Marginals, found: _Reference) -> float:
    return math.sqrt(max(0.0, float(errors.quantile(_SHARE)) ** 2 - _noise(guide, found) ** 2))


def _left_out(rows: list[int], few: Tensor) -> list[str]:
    return [str(row) for row in range(len(few)) if row not in rows]


def _details(
    found: _Reference, guides: Mapping[str, Marginals], errors: Mapping[str, Tensor], distances: Mapping[str, Tensor]
) -> Sampled | Enumerated:
    exact = found.marginals.quantiles()
    quantiles = {name: guide.quantiles() for name, guide in guides.items()}
    return found.details(
        data=found.rows,
        names=list(found.names),
        probabilities=list(PROBABILITIES),
        quantiles={name: q.tolist() for name, q in {"reference": exact, **quantiles}.items()},
        interval_error={name: error.tolist() for name, error in errors.items()},
        noise={name: _noise(guide, found) for name, guide in guides.items()},
        wasserstein={name: distance.tolist() for name, distance in distances.items()},
        quantile_error={name: float(((q - exact).abs() / found.unit).mean()) for name, q in quantiles.items()},
    )
