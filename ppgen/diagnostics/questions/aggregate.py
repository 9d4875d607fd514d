"""The aggregated posterior against the prior: what the KL of the bound is spent on.

With n uniform over N data, and q(z) = (1/N) sum_n q(z | x_n) the aggregated posterior,

    (1/N) sum_n KL( q(z | x_n) || p(z) )  =  I_q(n; z)  +  KL( q(z) || p(z) )          (nats)

What is paid for the latents tells the data apart, by the mutual information, or is lost where the aggregated posterior
is not the prior: then draws of the prior fall where no datum is, and the model was not taught what to make of them.
Here

    I_q(n; z) = E log q(z | x_n) - log (1/N) sum_m q(z | x_m)      n uniform, z ~ q(z | x_n)

by one draw of each of some data, against N of them. It is at most log N: near it, N data cannot tell how much the
latents know, and the second term is only bounded from above. What is told at any N is the part of that term that
moments show: the KL of a normal with mean and covariance of the aggregated posterior from one with those of the prior.

ELBO surgery: yet another way to carve up the variational evidence lower bound. Hoffman and Johnson, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.finding import Finding, Real, Status
from ppgen.diagnostics.question import asks
from ppgen.draws.samples import prior_latents
from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.machine.progress import track
from ppgen.pairs.divergence import divergences
from ppgen.pairs.latents import numbered, side_by_side
from ppgen.pairs.looking import looking
from ppgen.pairs.reductions import standard_error
from ppgen.pairs.rows import num_rows, rows_or_all
from ppgen.pairs.sites import Site, side_axis
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = ["Moments", "Surgery", "aggregate", "surgery"]

_DATA = 5000
"""N, at most: training data, whose aggregated posterior the prior should be."""

_CELLS = 2**23
"""Numbers of the latents that are scored at once."""

_SATURATED = math.log(2)
"""Nats below log N: a mutual information nearer to it than that of one bit is a bound only."""

_SHARE = 0.1
_PRIOR_DRAWS = 4000
_SHOWN = 500
"""Draws of the two latents of largest correlation that are kept for a plot."""

_MOST_UNITS = 200
"""Numbers of the latents whose covariance is taken."""


@dataclass(frozen=True, kw_only=True)
class Surgery:
    """The three terms in nats, means over data, with the standard error of the mutual information, and log N.

    ``marginal_kl`` is KL( q(z) || p(z) ); ``saturated``: the mutual information is about as large as N data can show.
    """

    kl: Real
    mutual_information: Real
    standard_error: Real
    marginal_kl: Real
    log_n: float
    saturated: bool


@dataclass(frozen=True, kw_only=True)
class Moments(Surgery):
    """Beside these, of the F numbers of continuous latents: means and variances over data and under the prior, the KL
    in nats between normals of these moments, the largest correlation and whose it is, and draws of those two."""

    latents: list[str]
    mean: list[Real]
    variance: list[Real]
    prior_mean: list[Real]
    prior_variance: list[Real]
    normal_kl: Real
    largest_correlation: Real
    most_correlated: list[int]
    draws: list[list[Real]]
    prior_draws: list[list[Real]]


@asks("Is the prior what the latents of the data look like?")
def aggregate(case: Case) -> Finding[Moments | Surgery] | None:
    """The share of the KL that is no mutual information, and what moments tell of it.

    Green below a tenth, yellow above; unknown where N data cannot tell. None for an implicit or unnormalised pair, and
    for one without latents of a datum.
    """
    if not case.pair.has_density or not case.local_latents:
        return None
    case.check_spread(case.local_latents)
    found = surgery(case)
    share = max(0.0, found.marginal_kl) / max(found.kl, 1e-12)
    status: Status = "good" if share <= _SHARE else "unknown" if found.saturated else "warn"
    at_most = "at most, since N data tell no more than log N" if found.saturated else f"± {found.standard_error:.2f}"
    return Finding(
        status=status,
        number=share,
        threshold=_SHARE,
        direction="at most",
        quantity="share of the KL",
        source="Hoffman and Johnson 2016, ELBO surgery; the tenth is ours",
        meaning=f"share of the KL that is spent on an aggregated posterior unlike the prior: of {found.kl:.2f} nats "
        f"{found.mutual_information:.2f} tell the data apart (log N = {found.log_n:.2f}), and {found.marginal_kl:.2f} "
        f"({at_most}) do not",
        advice="" if status == "good" else advised(case, _ADVICE),
        details=_with_moments(found, case),
    )


_ADVICE = (
    "Samples of the prior may look worse than reconstructions: look at both. A richer prior, a second layer of latents "
    "or a larger weight of the KL[ ({beta} above 1)] brings the two together."
)


def surgery(case: Case) -> Surgery:
    """The three terms, of the first ``num_data`` training data against the first 5,000, under the guide.

    Latents outside the data plate are drawn once.

    Raises:
        UsageError: the guide has no density for each datum by itself.
    """
    pair, batch = case.pair, _reference(case)
    few, N = rows_or_all(batch, slice(case.num_data)), num_rows(batch)
    with looking(pair):
        one = run_particles(Program(pair.model, pair.guide), few, 1)
        if one.plate is None or one.log_q.shape[1] != num_rows(few):
            raise UsageError("the guide draws the latents of all data together: there is no q(z | x) of a datum.")
        if num_rows(few) < 2:
            raise UsageError("an aggregated posterior is of two data or more.")
        kl = sum(divergences(one), torch.zeros(()))  # (1, B)
        told = torch.cat([*_told(case, one, batch)])
    paid, information, log_n = float(kl.double().mean()), float(told.mean()), math.log(N)
    return Surgery(
        kl=paid,
        mutual_information=information,
        standard_error=standard_error(told),
        marginal_kl=paid - information,
        log_n=log_n,
        saturated=information > log_n - _SATURATED,
    )


def _reference(case: Case) -> Batch:
    """The training data whose aggregated posterior is looked at."""
    return case.data.draw(case.data.rows("train", slice(_DATA)))


def _told(case: Case, one: Particles, batch: Batch) -> Iterator[Tensor]:
    """log q(z_j | x_j) - log (1/N) sum_n q(z_j | x_n) for the draw of each datum of ``one``, in parts, float64."""
    J, N = one.log_q.shape[1], num_rows(batch)
    step = max(1, _CELLS // (N * max(1, side_by_side(one).shape[-1])))
    for start in track(range(0, J, step), "mutual information", case.progress):
        draws = slice(start, min(start + step, J))
        given = {name: _across(one, name, draws, N) for name, site in one.guide_sites.items() if _is_drawn(site)}
        log_q = run_particles(_guide_alone(case), batch, draws.stop - start, given).log_q.double()  # (j, N)
        yield log_q.diagonal(start) - (log_q.logsumexp(1) - math.log(N))


def _guide_alone(case: Case) -> Program:
    """The guide in the model's place, too: it is scored without the model's work."""
    return Program(case.pair.guide, case.pair.guide)


def _is_drawn(site: Site) -> bool:
    return not site["is_observed"] and not site_is_subsample(site)


def _across(one: Particles, name: str, draws: slice, N: int) -> Tensor:
    """The draws of a site's first particle as as many particles, each the same for all N data."""
    site, num = one.guide_sites[name], draws.stop - draws.start
    value: Tensor = site["value"]
    place = side_axis(site, one.plate, value)  # of the data
    if place is None:
        return value.expand(num, *value.shape[1:])
    each: Tensor = value[0].movedim(place - 1, 0)[draws]  # (j, ...)
    return each.unsqueeze(place).expand(*each.shape[:place], N, *each.shape[place:])


def _with_moments(found: Surgery, case: Case) -> Moments | Surgery:
    """Where there are continuous latents, of up to 200 numbers, with the moments of these."""
    names = [name for name in case.local_latents if name not in case.discrete]
    if not names:
        return found
    with looking(case.pair):
        run = run_particles(_guide_alone(case), _reference(case), 1)
    prior = prior_latents(case.pair, case.batch, _PRIOR_DRAWS, seed=case.seed)
    q = side_by_side(run, {name: run.guide_sites[name]["value"] for name in names})[0].double()  # (N, F)
    p = torch.cat([prior[n] for n in names], -1).double()
    labels = [label for name in names for label in numbered(name, prior[name].shape[1])]
    return found if q.shape[1] > _MOST_UNITS else _compared(found, labels, q, p)


def _compared(found: Surgery, labels: list[str], q: Tensor, p: Tensor) -> Moments:
    """Draws of the aggregated posterior, (n, F), against draws of the prior, (m, F)."""
    correlation = torch.corrcoef(q.T).reshape(q.shape[1], -1).fill_diagonal_(0)
    two = sorted(divmod(int(correlation.abs().argmax()), q.shape[1]))[: q.shape[1]]
    return Moments(
        **vars(found),
        latents=labels,
        mean=q.mean(0).tolist(),
        variance=q.var(0).tolist(),
        prior_mean=p.mean(0).tolist(),
        prior_variance=p.var(0).tolist(),
        normal_kl=_normal_kl(q, p),
        largest_correlation=float(correlation.abs().max()),
        most_correlated=two,
        draws=q[:_SHOWN, two].tolist(),
        prior_draws=p[:_SHOWN, two].tolist(),
    )


def _normal_kl(q: Tensor, p: Tensor) -> float:
    """KL( N(mean q, cov q) || N(mean p, cov p) ) of draws (n, F) and (m, F), in nats; NaN where p is degenerate."""
    S, P, shift = _covariance(q), _covariance(p), q.mean(0) - p.mean(0)
    inverse = torch.linalg.pinv(P)
    quadratic = (inverse @ S).trace() - len(S) + shift @ inverse @ shift
    return 0.5 * float(quadratic + torch.linalg.slogdet(P)[1] - torch.linalg.slogdet(S)[1])


def _covariance(draws: Tensor) -> Tensor:
    covariance: Tensor = torch.cov(draws.T).reshape(draws.shape[1], -1)
    return covariance
