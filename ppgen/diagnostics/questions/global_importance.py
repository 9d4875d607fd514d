"""Do the guide's draws of latents of the whole data set, weighted, stand for their posterior? The global k-hat.

For latents g outside the data plate, the weight of a draw g_s ~ q(g) belongs to all N data together,

    w(g) = p(g) prod_n p(x_n | g) / q(g),        E_q w(g) h(g) = p(x) E[h(g) | x],

and its k-hat tells of q(g) what a datum's k-hat tells of q(z | x) (:mod:`ppgen.diagnostics.weights`). The latents of a
datum are integrated out by K of their own particles, within each draw of g:

    p^(x_n | g) = 1/K sum_k p(x_n, z_k | g) / q(z_k | x_n, g),        z_k ~ q(z | x_n, g)
    log w^(g)   = log p(g) - log q(g) + sum_n log p^(x_n | g).

*Noise keeps the weights proper.* Each p^ is unbiased given g, and they are independent, so that E[w^(g) | g] = w(g) for
any K. By Jensen's inequality E[w^(g)^r | g] >= w(g)^r for r > 1: noise can make the tail heavier and not lighter. A low
k-hat is to be believed whatever K; a high one may be the noise's.

*How much noise.* With v_n the relative variance of one particle's weight, the variance of log w^ given g is about
sum_n v_n / K, so that draws of their own would need K in proportion to N to keep it near one. Here all draws g_s have
the same random numbers u behind their z_k: w^ is unbiased as before, what log p^ errs by at all g alike cancels from
the shares of the weights, and what does not is its change over the width of q(g), 1 / sqrt N: noise of the order 1 / K,
and a trend of the order sqrt N / K from the bias -v_n / 2K. Given u the k-hat is that of q(g) for the posterior under
the likelihoods p^_u. How far these weights are from w is told by the jackknife, leaving out a group j of G of the
particles: with log w^_-j, their mean over j, log w^_., and variances over the draws s,

    noise = (G - 1) / G sum_j Var_s[ log w^_-j - log w^_. ] + (G - 1)^2 Var_s[ log w^_. - log w^ ]       (nats^2)

the first term the choice of u, the second the bias. Its share of Var_s log w^ is reported; where it is more than half,
a high k-hat is no answer. Particles that miss the mass of their datum altogether do not know it: what the guide of the
latents of data is worth is asked first, of each datum by itself (:mod:`ppgen.diagnostics.questions.importance`).

*How far off.* A k-hat tells whether weights mend what is wrong, and not whether there is anything: a guide that lies d
standard deviations to a side has weights of all moments. What they have to mend is, where k-hat is low, known too,

    KL( q(g) || p(g | x) ) = log E w - E log w        (nats, of all data together; less half of the noise),

1/2 d^2 of such a guide. Above 0.2 nats, 0.6 standard deviations of one number, the draws are good with their weights
alone.

*All the data.* q(g) was fitted to N training data, and its weights need all of them: a subset has another posterior,
wider by sqrt(N / B) in every direction, for which q(g) is too narrow however good it is. So it is all or nothing, and
the budget is spent on draws and particles. q(g) is asked at two data: it may not depend on which batch it is given.

Nothing is multiplied by N / B here: a minibatch's scale is the objective's.

Yao, Vehtari, Simpson and Gelman, Yes, but did it work?, ICML 2018 (the k-hat of a variational posterior). Vehtari,
Simpson, Gelman, Yao and Gabry, Pareto smoothed importance sampling, JMLR 2024 (the threshold). Tran, Scharth, Pitt and
Kohn, Importance sampling squared, 2013 (likelihoods estimated within importance sampling; noise of one nat^2).
Deligiannidis, Doucet and Pitt, The correlated pseudo-marginal method, JRSS B 2018 (the same random numbers; K of the
order of sqrt N).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.diagnostics.finding import Finding, LogWeight, Real, Status
from ppgen.diagnostics.question import asks
from ppgen.diagnostics.weights import check_tail, effective_sample_size, k_threshold, pareto_k
from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.machine.progress import track
from ppgen.pairs.log_weights import datum_width, read_particles, rows_of
from ppgen.pairs.looking import goes_apart, looked_at, seeded
from ppgen.pairs.pair import Pair, check_density
from ppgen.pairs.places import ready
from ppgen.pairs.rows import num_rows, take_rows
from ppgen.pairs.tracing import Batch, Particles

__all__ = ["AllData", "GlobalWeights", "global_importance", "global_log_weights"]

_LEAST_DRAWS, _PARTICLES = 125, (4, 100)
"""Draws of g that a k-hat needs; fewest and most particles of a datum's latents for each."""

_CELLS, _OTHER = 115 * 10**8, 200
"""What the question may cost, S x N x K numbers: those of a datum's largest site, and what else a particle costs in
them. A few minutes of two cores."""

_LIMIT = 0.7
"""The k-hat above which importance sampling fails at any number of draws that can be paid for."""

_K_HAT = "Pareto k-hat"
_MISFIT = 0.2
"""Nats of the guide's divergence from the posterior up to which its draws serve without their weights."""

_GROUPS = 10
"""Of the particles, for the jackknife, at most."""

_NOISE = 0.5
"""Share of the noise in the variance of log-weights above which a high k-hat is no answer."""

_SOURCE = (
    "Yao et al. 2018; Vehtari et al. 2024: k-hat at most min(1 - 1/log10 S, 0.7) of S draws; Tran et al. 2013 for "
    "likelihoods that are estimated; the limit of 0.2 nats is ours"
)
_ADVICE = (
    "Do not reweight or resample these draws: a few carry all the weight. The more numbers the latents have, the more "
    "any misfit of the family adds up; their means may be right all the same, which global_calibration asks. Train "
    "until the bound no longer rises as lr falls; then a richer guide of these latents (full covariance, a flow), or "
    "Markov chains where their uncertainty matters."
)
_WEIGHTED = (
    "The draws stand for the posterior with their weights alone: resample them by these, or train until the bound no "
    "longer rises as lr falls; what is left then is the family's (full covariance, a flow)."
)
_MORE_DRAWS = "More draws (--particles) tell a k-hat below 0.7 apart from one above. " + _ADVICE
_LESS_NOISE = (
    "Most of what the weights differ by is Monte Carlo noise of the latents of data: take more particles of them "
    "(ppgen.diagnostics.global_log_weights), or make their guide better first, which importance asks."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class GlobalWeights:
    """Log-weights of S draws of the latents outside the data plate, for all data together.

    ``log_w`` (S,), float64, nats; ``without`` (G, S), the same without one of G groups of the ``num_particles``
    particles that integrate out the latents of each of ``num_data`` data; ``num_latents``, the numbers of a draw.

    >>> import ppgen
    >>> pair = ppgen.models.GMM(ppgen.DataSpec("numbers", 1, "real", num_data=10), 2, bayesian=True)
    >>> weights = global_log_weights(pair, (torch.randn(10, 1),), num_draws=5)
    >>> weights.log_w.shape, weights.num_latents, weights.noise_share < 1e-6  # no latents of data
    (torch.Size([5]), 6, True)
    """

    log_w: Tensor
    without: Tensor
    num_particles: int
    num_data: int
    num_latents: int

    @property
    def noise(self) -> float:
        """The variance over draws of what the particles' noise and bias change in the log-weights, nats^2."""
        num, mean = len(self.without), self.without.mean(0)  # (S,)
        chance, bias = (self.without - mean).var(1).sum(), (mean - self.log_w).var()
        return float((num - 1) / num * chance + (num - 1) ** 2 * bias)

    @property
    def noise_share(self) -> float:
        """The noise as a share of the variance of the log-weights, at most 1; 0 where they are all equal."""
        variance = float(self.log_w.var())
        return min(1.0, self.noise / variance) if variance > 0 else 0.0

    @property
    def misfit(self) -> float:
        """KL( q(g) || p(g | x) ) beyond noise, nats; too low where a few draws carry the weight."""
        excess = self.log_w.logsumexp(0) - math.log(len(self.log_w)) - self.log_w.mean()
        return max(0.0, float(excess) - self.noise / 2)


@dataclass(frozen=True, kw_only=True)
class AllData:
    """The log-weights, nats, of draws of ``num_latents`` numbers, their standard deviation and effective sample size;
    the variance that is noise of the particles, nats^2, and its share of all; and how far the guide is from the
    posterior by them, nats."""

    num_draws: int
    num_particles: int
    num_data: int
    num_latents: int
    effective_sample_size: Real
    standard_deviation: Real
    noise: Real
    noise_share: Real
    log_weights: list[LogWeight]
    misfit: Real = math.nan


@asks("Do the guide's draws of the whole data set's latents, weighted, stand for their posterior?")
def global_importance(case: Case) -> Finding[AllData] | None:
    """The k-hat of the weights of latents outside the data plate, by all training data.

    Green: it is at most the threshold of S draws. Yellow: it is above, and at most 0.7; or it is at most the threshold
    and the weights have more than 0.2 nats to mend, which is then the number. Red: it is above 0.7. Unknown: it is
    above and more than half of the variance of the log-weights is noise of local latents, or the data are too many for
    the budget. S is ``num_particles``, or what the budget allows, at least 125. None for a pair without such latents,
    or without a normalised density.
    """
    pair = case.pair
    if not pair.has_density or not case.global_latents:
        return None
    case.check_spread(case.global_latents)
    case.check_all_data()
    check_tail(case.num_particles)
    batch = case.data.draw(case.data.rows("train"))
    num_draws, num_particles = _afforded(case, num_rows(batch))
    weights = global_log_weights(pair, batch, num_draws, num_particles, seed=case.seed, progress=case.progress)
    k, threshold = float(pareto_k(weights.log_w[:, None])), k_threshold(num_draws)
    status, advice = _judged(k, threshold, weights)
    is_off = status == "warn" and k <= threshold
    size = float(effective_sample_size(weights.log_w[:, None]))
    return Finding(
        status=status,
        number=weights.misfit if is_off else k,
        threshold=_MISFIT if is_off else threshold,
        direction="at most",
        quantity="" if is_off else "k-hat",
        unit="nats" if is_off else "",
        source=_SOURCE,
        meaning=f"{_what(k, is_off)} of {num_draws:,} draws of {', '.join(case.global_latents)} "
        f"({weights.num_latents:,} numbers), weighted by all {weights.num_data:,} training data, the latents of each "
        f"integrated out by {num_particles} particles; they are worth {size:,.1f} draws; the standard deviation of "
        f"log-weights is {float(weights.log_w.std()):.3g} nats, of whose square {weights.noise_share:.1%} is noise of "
        "the particles",
        advice=advice,
        details=AllData(
            num_draws=num_draws,
            num_particles=num_particles,
            num_data=weights.num_data,
            num_latents=weights.num_latents,
            effective_sample_size=size,
            standard_deviation=float(weights.log_w.std()),
            noise=weights.noise,
            noise_share=weights.noise_share,
            log_weights=weights.log_w.tolist(),
            misfit=weights.misfit,
        ),
    )


def global_log_weights(
    pair: Any, batch: Batch, num_draws: int, num_particles: int = 100, *, seed: int = 0, progress: bool = False
) -> GlobalWeights:
    """log w^ of ``num_draws`` draws of the latents outside the data plate, by all data that they were fitted to.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``.
        batch: all training data, dense; run in chunks.
        num_draws: S; a k-hat needs 125.
        num_particles: K of the latents of each datum, for each draw, at least 2; the same random numbers for all draws.
        seed: seeds the draws; the global random state is left as it was.
        progress: show a progress bar.

    Raises:
        UsageError: the model is no normalised density, no latent stands outside the data plate, ``num_draws`` or
            ``num_particles`` is below 2, or a log-weight is NaN (the datum is named).
    """
    pair, batch = ready(pair, batch)
    check_density(pair.model, "the k-hat of latents of the whole data set")
    at_least("num_draws", num_draws, 2)
    at_least("num_particles", num_particles, 2)
    with seeded(seed):
        common = int(torch.randint(2**62, ()))
        apart = goes_apart(pair, batch)
        few = take_rows(batch, slice(2)) if apart else batch
        found, first = [], _drawn(pair, few)
        for _ in track(range(num_draws), "draws for all data", progress):
            one = _drawn(pair, few)
            rows = rows_of(datum_width(one), num_particles) if apart else num_rows(batch)
            found.append(_log_weight(pair, batch, one, num_particles, rows, common))
    log_w, *without = torch.stack(found, 1)  # (S,) each
    return GlobalWeights(
        log_w=log_w,
        without=torch.stack(without),
        num_particles=num_particles,
        num_data=num_rows(batch),
        num_latents=_num_latents(first),
    )


def _drawn(pair: Pair, few: Batch) -> Particles:
    """One particle at a few data, for its latents outside the data plate."""
    one = looked_at(pair, few, seed=None)
    if one.outside is None:
        raise UsageError("expected latents outside the data plate, found none: ask for each datum's own log-weights.")
    return one


@torch.no_grad()
def _log_weight(pair: Pair, batch: Batch, one: Particles, num: int, rows: int, common: int) -> Tensor:
    """log w^ of one draw by all its particles, and without each group of them: (1 + G,), float64."""
    assert one.outside is not None
    total = one.outside.log_w.double().reshape(1)  # (1,)
    start = 0
    with seeded(common):
        for (log_w,) in read_particles(pair, batch, num, _log_w, given=one.held, rows=rows):  # (K, rows)
            _check_numbers(log_w, start)
            total = total + _means(log_w).sum(1)  # (1 + G,)
            start += log_w.shape[1]
    return total


def _means(log_w: Tensor) -> Tensor:
    """log-mean-exp of (K, rows) over all particles, and over those outside each of G groups: (1 + G, rows)."""
    num = min(_GROUPS, len(log_w))
    groups = [log_w[first::num] for first in range(num)]
    sums, sizes = torch.stack([group.logsumexp(0) for group in groups]), torch.tensor([len(group) for group in groups])
    kept = torch.cat([torch.ones(1, num), 1 - torch.eye(num)]).to(log_w)  # (1 + G, G)
    counts = kept @ sizes.to(kept)  # (1 + G,)
    return (sums + kept.log()[:, :, None]).logsumexp(1) - counts.log()[:, None]


def _log_w(particles: Particles) -> Tensor:
    return particles.log_w.double()


def _check_numbers(log_w: Tensor, start: int) -> None:
    if log_w.isnan().any():
        datum = start + int(log_w.isnan().any(0).nonzero()[0])
        raise UsageError(f"the log-weight of training datum {datum} is NaN: look at the guide's output for that datum.")


def _afforded(case: Case, num_data: int) -> tuple[int, int]:
    """S and K within the budget: first few particles for as many draws as are wanted, then more particles."""
    least, most = _PARTICLES if case.local_latents else (2, 2)
    runs = _CELLS // (num_data * (datum_width(case.one) + _OTHER))  # S x K
    if runs < _LEAST_DRAWS * least:
        raise UsageError(
            f"these weights need all {num_data:,} training data, {_LEAST_DRAWS} times with {least} particles each, "
            "which is more than the question may cost: call ppgen.diagnostics.global_log_weights, on a larger machine."
        )
    num_draws = min(case.num_particles, runs // least)
    return num_draws, min(most, runs // num_draws)


def _judged(k: float, threshold: float, weights: GlobalWeights) -> tuple[Status, str]:
    noisy = weights.noise_share > _NOISE
    if k <= threshold:
        return ("warn", _WEIGHTED) if weights.misfit > _MISFIT and not noisy else ("good", "")
    if noisy:
        return "unknown", _LESS_NOISE
    return ("warn", _MORE_DRAWS) if k <= _LIMIT else ("bad", _ADVICE)


def _what(k: float, is_off: bool) -> str:
    return f"nats of the guide's divergence from the posterior, by weights of a k-hat of {k:.2f}," if is_off else _K_HAT


def _num_latents(one: Particles) -> int:
    return sum(one.guide_sites[name]["value"].numel() for name in one.global_latents)
