"""Is the guide of latents of the whole data set off to one side? Variational simulation-based calibration (VSBC).

A guide of latents g outside the data plate is fitted to one data set, and cannot be asked about another without a
refit. So M times

    g* ~ p(g),   data ~ p(x, z | g*),   the guide refitted to these data,   s = Q(g < g*)

for every dimension of g. If g sits in the middle of its posterior, s is distributed symmetrically about 1/2; too many
small s tell of a guide that sits too high. Symmetry is all that is tested: that an approximation is too narrow, as
mean-field ones are, shows as a U that is symmetric, and is no alarm here (a global k-hat tells that).

The model stays as it is. The refit ascends the ELBO of the simulated data by Adam, after some steps up log q(g*): it
starts near the truth. Where the posterior has several modes that differ by names alone (topics may be swapped), a guide
that started elsewhere would be compared with another topic's truth, or end in a worse mode; what is asked here is
whether the guide sits in the middle of the mode that the data came from.

Yao, Vehtari, Simpson and Gelman, Yes, but did it work?: evaluating variational inference, ICML 2018, section 3.2.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgen.diagnostics.finding import Finding, Real
from ppgen.diagnostics.question import asks
from ppgen.diagnostics.uniformity import symmetry_p
from ppgen.errors import UsageError, shown
from ppgen.evaluation.case import Case
from ppgen.machine.progress import track
from ppgen.pairs.latents import latent_names, side_by_side
from ppgen.pairs.log_weights import datum_width
from ppgen.pairs.looking import few_of
from ppgen.pairs.pair import Pair, check_density
from ppgen.pairs.parameters import in_evaluation, isolated
from ppgen.pairs.places import ready
from ppgen.pairs.sampling import simulated
from ppgen.pairs.traces import sites_of, unobserved
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = ["Refits", "global_calibration", "global_shares"]

_REPLICATIONS = 16, 40
"""Data sets, at least and at most."""

_CELLS, _OTHER = 35 * 10**8, 200
"""What all refits may cost, in numbers of steps x particles x data: those of a datum's largest site, and what else a
particle costs in them. A few minutes of two cores."""

_STEPS, _DRAWS, _RATE, _PARTICLES = 250, 200, 0.5, 2
_TOWARDS = 50
"""Steps towards the truth before those on the ELBO."""

_QUANTITIES = 30
_ALPHA = 0.01
_DRIFT = 0.5
"""Standard deviations of the guide: that moves Q(g < g*) by 0.2 at most, which few data sets cannot tell from none."""

_SOURCE = "Yao et al. 2018, section 3.2 (VSBC): symmetry of Q(g < g*) about 1/2, p at least 0.01 over all quantities"
_ADVICE = (
    "The guide sits to one side of the posterior, or a refit does not get to its end: ask again with more steps "
    "(ppgen.diagnostics.global_shares). If it stays, the posterior is skewed where the family is "
    "not: another family, or another parameterisation of these latents; and train with as many steps as it takes, and "
    "a learning rate that falls."
)


@dataclass(frozen=True, kw_only=True)
class Symmetry:
    """A dimension: p of symmetry, and the mean of Q(g < g*)."""

    name: str
    p: Real
    mean: Real


@dataclass(frozen=True, kw_only=True)
class Refits:
    """How many data sets, of how many data, and steps of a refit; the drift in standard deviations of the guide; every
    dimension; and Q(g < g*) of each data set in the least symmetric one."""

    num_replications: int
    num_data: int
    num_steps: int
    drift: Real
    quantities: list[Symmetry]
    shares: dict[str, list[Real]]


@asks("Does the guide of the whole data set's latents sit in the middle?")
def global_calibration(case: Case) -> Finding[Refits] | None:
    """VSBC of the latents outside the data plate, at most 30 of their dimensions, spread evenly.

    The number is the p-value of symmetry, the smallest over dimensions times how many there are. Green: at least 0.01.
    Yellow: less. A few data sets tell of a bias and not of its size, so there is no red. There are 40, or 16 where data
    are large, and then each may be smaller than ``num_data``. Unknown where the refits do not get to their end: they
    start near the truth, and would stay there. None for a pair without such latents, or without a normalised density
    to simulate from.
    """
    if not case.pair.has_density or not case.global_latents:
        return None
    case.check_spread(case.global_latents)
    num, size = _afforded(case)
    batch = case.first(size)
    shares, names, drift = global_shares(case.pair, batch, num, progress=case.progress)
    p = symmetry_p(shares)
    number, worst = min(1.0, len(p) * float(p.min())), int(p.argmin())
    mean = float(shares[:, worst].mean())
    side = "low" if mean > 0.5 else "high"
    ended = drift <= _DRIFT
    return Finding(
        status="warn" if number < _ALPHA else "good" if ended else "unknown",
        number=number,
        threshold=_ALPHA,
        direction="at least",
        quantity="p-value",
        source=_SOURCE,
        meaning=f"p-value that {len(p)} dimensions of the latents of {num} simulated data sets of {size:,} data each "
        f"lie on both sides of their guides, refitted in {_STEPS} steps, alike; the least symmetric is "
        f"{names[worst]}, for which the guide sits {side} (mean of Q(g < g*) {mean:.2f}, 0.5 in the middle)"
        + ("" if ended else f"; as many steps again move a guide by {drift:.2g} of its standard deviations"),
        advice="" if number >= _ALPHA and ended else _ADVICE,
        details=Refits(
            num_replications=num,
            num_data=size,
            num_steps=_STEPS,
            drift=drift,
            quantities=[
                Symmetry(name=name, p=float(p[index]), mean=float(shares[:, index].mean()))
                for index, name in enumerate(names)
            ],
            shares={names[worst]: shares[:, worst].tolist()},
        ),
    )


def global_shares(
    pair: Any, batch: Batch, num_replications: int, num_steps: int = _STEPS, *, progress: bool = False
) -> tuple[Tensor, list[str], float]:
    """Q(g < g*) of M data sets of the size of ``batch``, (M, Q), float64; the names of the Q dimensions; and the drift.

    The drift tells whether a refit gets to its end: how far as many steps again move the mean of the last one, in
    standard deviations, the median over dimensions.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``; it is left as it was.
        batch: what the data set yields. Of x only the shape is used.
        num_replications: M, each with a refit.
        num_steps: of the refit.
        progress: show a progress bar.

    Raises:
        UsageError: the model is no normalised density, no latent stands outside the data plate, a latent of the guide
            has no reparameterized sample, or a refit diverges.
    """
    pair, batch = ready(pair, batch)
    check_density(pair.model, "VSBC")
    found = []
    for _ in track(range(num_replications), "refits", progress):
        refit = copy.deepcopy(pair)
        with isolated(), in_evaluation(refit):
            program, made, truth, given = _simulated(refit, batch)
            _towards(refit, made, given)
            draws, names = _fit(refit, program, made, num_steps)
        found.append(((draws < truth).double() + (draws == truth).double() / 2).mean(0))  # (Q,)
    with isolated(), in_evaluation(refit):
        again, _ = _fit(refit, program, made, num_steps)
    drift = (again.mean(0) - draws.mean(0)).abs() / draws.std(0)  # (Q,)
    return torch.stack(found), names, float(drift.median())


@torch.no_grad()
def _simulated(pair: Pair, batch: Batch) -> tuple[Program, Batch, Tensor, dict[str, Tensor]]:
    """A program that observes a batch that the model makes with latents g* from its prior; the batch, for the guide;
    the numbers of g*, (Q,); and g* by site."""
    one = run_particles(Program(pair.model, pair.guide), batch, 1)
    _check_refit(one)
    prior = sites_of(unobserved(pair.model), *batch)
    given = {name: prior[name]["value"].reshape(one.guide_sites[name]["value"].shape) for name in one.global_latents}
    at_prior = run_particles(one.program, batch, 1, given)
    return *simulated(at_prior, "VSBC"), _numbers(at_prior)[0][0], given


def _afforded(case: Case) -> tuple[int, int]:
    """How many data sets, and data in each, within the budget: fewer sets first, then fewer data."""
    least, most = _REPLICATIONS
    data = _CELLS // (_STEPS * _PARTICLES * (datum_width(case.one) + _OTHER))  # of all sets together
    num = min(most, max(least, data // case.num_data))
    return num, max(2, min(case.num_data, data // num))


def _towards(pair: Pair, batch: Batch, given: Mapping[str, Tensor]) -> None:
    """Steps of the guide up log q(g*); none where a guide makes its latents of others, and has no density of g*."""
    few = few_of(pair, batch)
    for _ in _steps(pair, _TOWARDS):
        outside = run_particles(Program(pair.model, pair.guide), few, 1, given).outside
        assert outside is not None
        if not outside.log_q.requires_grad or not bool(outside.log_q.isfinite().all()):
            return
        (-outside.log_q.sum()).backward()


def _fit(pair: Pair, program: Program, batch: Batch, num_steps: int) -> tuple[Tensor, list[str]]:
    """Steps of the guide alone up the ELBO, the data of the batch being all the data; then draws of it, (K, Q).

    Raises:
        UsageError: the ELBO becomes NaN or infinite.
    """
    for step in _steps(pair, num_steps):
        particles = run_particles(program, batch, _PARTICLES).with_fixed(model=True)
        log_w = [part.log_w.sum(1) for part in (particles, particles.outside) if part is not None]  # (K,) each
        elbo = torch.stack(log_w).sum(0).mean()
        if not bool(elbo.isfinite()):
            raise UsageError(
                f"refitted to data that the model made, the guide diverges: its ELBO is {float(elbo)} after {step} of "
                f"{num_steps} steps. The model may make data that no guide can hold (priors far wider than what the "
                "data say), or the guide's scales have no bounds."
            )
        (-elbo).backward()
    with torch.no_grad():
        return _numbers(run_particles(Program(pair.model, pair.guide), few_of(pair, batch), _DRAWS))


def _steps(pair: Pair, num: int) -> Iterator[int]:
    """Steps of Adam, its rate falling to nothing; the gradient is made at each yield, which tells which step it is."""
    optimizer = torch.optim.Adam(pair.parameters(), _RATE)
    for step in range(num):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / num)
        optimizer.zero_grad()
        yield step
        optimizer.step()


def _numbers(particles: Particles) -> tuple[Tensor, list[str]]:
    """The chosen dimensions of the latents outside the data plate, (K, Q), float64; and their names."""
    assert particles.outside is not None
    names = latent_names(particles.outside)
    chosen = torch.linspace(0, len(names) - 1, min(len(names), _QUANTITIES)).round().long().tolist()
    values = side_by_side(particles.outside).detach().double()  # (K, 1, F)
    return values[:, 0, chosen], [names[index] for index in chosen]


def _check_refit(one: Particles) -> None:
    if one.outside is None or not one.global_latents:
        raise UsageError("VSBC is for latents outside the data plate, and the pair has none.")
    scored = [*one.scored, *one.outside.scored]
    if scored:
        raise UsageError(
            f"VSBC refits the guide by gradients through its draws, and {shown(scored[0])} has no reparameterized "
            "sample."
        )
