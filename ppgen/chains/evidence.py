"""log p(x) between two stochastic bounds: annealed importance sampling of the latents, from the prior and back.

The tempered posteriors p_b(z) ~ p(z) p(x | z)^b lead from the prior, b = 0, to the posterior, b = 1; the ratio of their
normalising constants at the two ends is p(x). A chain along powers b_0, ..., b_T gathers

    log w = sum_t (b_t - b_{t-1}) log p(x | z_{t-1}),       z_0 ~ p_{b_0},   z_t ~ a transition that leaves p_{b_t}

and E[w] is that ratio, whatever the transitions (Neal 2001). By Jensen's inequality, with K chains,

    forward, b from 0 to 1, z_0 ~ p(z)          E[ log (1/K) sum_k w_k ]   <=  log p(x)
    reverse, b from 1 to 0, z_0 ~ p(z | x)      E[ -log (1/K) sum_k w_k ]  >=  log p(x)

The reverse chains need an exact draw of the posterior, which nobody has for data, and everybody for *simulated* data:
of (x, z) ~ p(x, z) the z is one (Grosse, Ghahramani and Adams 2015). How far the two bounds are apart there is how far
either may be from log p(x). Both close as T grows.

The transitions are Hamiltonian for continuous latents and flips for discrete ones (:mod:`ppgen.chains.posterior`). Step
sizes belong to a power and a datum and come from a pilot run with random numbers of its own: given them, the weights
of the run itself are unbiased. The powers are spaced by the logistic function, densest at both ends.

Neal, Annealed importance sampling, 2001. Grosse, Ghahramani and Adams, Sandwiching the marginal likelihood using
bidirectional Monte Carlo, 2015. Wu, Burda, Salakhutdinov and Grosse, On the quantitative analysis of decoder-based
generative models, ICLR 2017 (powers, adaptation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyro
import torch
from torch import Tensor

from ppgen.arguments import Count, check_fields
from ppgen.chains.posterior import LatentChains, Latents
from ppgen.errors import UsageError
from ppgen.machine.graphs import traced
from ppgen.machine.memory import keep_large_blocks
from ppgen.machine.progress import track
from ppgen.pairs.looking import looking
from ppgen.pairs.pair import check_density
from ppgen.pairs.places import ready
from ppgen.pairs.reductions import effective_sample_size, log_mean_exp
from ppgen.pairs.rows import is_data, like_data, num_rows, take_rows
from ppgen.pairs.sampling import dreamt, prior_latents
from ppgen.pairs.sites import side_axis
from ppgen.pairs.tracing import Batch, Program, run_particles

__all__ = ["Bounds", "Budget", "Rung", "annealed", "evidence_bounds", "pilot", "powers", "rung"]

_FIRST_STEP, _ACCEPTANCE, _GAIN = 0.5, 0.8, 0.1
"""The pilot's first step size, the rate of acceptance it steers to, and the gain of the steering."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much annealing may cost: (num_powers x num_chains x num_leapfrogs) gradients a datum, twice.

    Args:
        num_powers: T.
        num_chains: K for each datum.
        num_leapfrogs: in each transition of continuous latents.

    Raises:
        UsageError: a number is not a positive integer.
    """

    num_powers: Count = 200
    num_chains: Count = 16
    num_leapfrogs: Count = 5

    def __post_init__(self) -> None:
        check_fields(self, "an annealing budget")


@dataclass(frozen=True)
class Bounds:
    """Stochastic bounds on log p(x) in nats, float64, and how they were found.

    ``lower`` (B,) of the data; ``simulated_lower`` and ``simulated_upper`` (S,) of data that the model made;
    ``acceptance`` (T,), the mean rate at each power of the forward chains; ``lower_error`` (B,), the standard error of
    ``lower`` over its chains by the delta method, sd(w) / (mean(w) sqrt(K)): of one chain 0, which says nothing;
    ``effective_sample_size`` (B,), how many equal weights those of ``lower`` are worth, K at most.

    >>> import ppgen
    >>> pair, x = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,)), torch.ones(2, 3)
    >>> _ = [torch.nn.init.zeros_(p) for p in pair.parameters()]  # three fair bits, whatever the latents
    >>> found = evidence_bounds(pair, (x,), Budget(num_powers=3, num_chains=2))
    >>> exact = torch.full((2,), 0.125, dtype=torch.float64).log()
    >>> all(torch.allclose(each, exact) for each in (found.lower, found.simulated_lower, found.simulated_upper))
    True
    """

    lower: Tensor
    simulated_lower: Tensor
    simulated_upper: Tensor
    acceptance: Tensor
    lower_error: Tensor
    effective_sample_size: Tensor


def powers(num: int) -> Tensor:
    """0 = b_0 < ... < b_num = 1, float64: the logistic function of equidistant points from -4 to 4, brought to [0, 1].

    >>> powers(2).tolist()
    [0.0, 0.5, 1.0]
    """
    levels = torch.linspace(-4, 4, num + 1, dtype=torch.float64).sigmoid()
    return (levels - levels[0]) / (levels[-1] - levels[0])


def evidence_bounds(
    pair: Any, batch: Batch, budget: Budget | None = None, *, num_simulated: int | None = None, progress: bool = False
) -> Bounds:
    """The bounds of each datum of ``batch``, and of data simulated from the model in their place.

    Latents outside the data plate are drawn from the guide once and held: log p(x) is then given them.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, normalised.
        batch: what the data set yields, ``(x,)`` or ``(x, y)``; labels are those of the simulated data, too.
        budget: None: the default one.
        num_simulated: how many of the data are replaced by simulated ones for the sandwich; None: all.
        progress: show a progress bar.

    Raises:
        UsageError: the pair is implicit or unnormalised or has no data plate, the model observes what the batch does
            not hold as it is, a continuous latent has no bijection from the reals or a discrete one no flips, or a
            datum's weights are not finite (it is named).
    """
    (pair, batch), budget = ready(pair, batch), budget or Budget()
    check_density(pair.model, "annealing")
    num, made = num_rows(batch), num_rows(batch) if num_simulated is None else num_simulated
    keep_large_blocks()
    with looking(pair), pyro.validation_enabled(False):
        chains, start = _chains(Program(pair.model, pair.guide), batch, made, budget.num_chains)
        rising = powers(budget.num_powers).to(like_data(batch))[:, None]  # (T + 1, 1)
        path = torch.cat([rising.expand(-1, num + made), rising.flip(0).expand(-1, made)], 1)  # (T + 1, B)
        step = rung(chains, start, budget.num_leapfrogs)
        sizes = pilot(step, start, path, progress=progress)  # (T, B)
        sizes[:, num + made :] = sizes[:, num : num + made].flip(0)
        log_w, rates = annealed(step, start, path, sizes, progress=progress)
    total = log_mean_exp(log_w)  # (B,)
    if not bool(total.isfinite().all()):
        datum = int((~total.isfinite()).nonzero()[0]) % num
        raise UsageError(f"the annealed weights of datum {datum} are not finite: look at the model's output for it.")
    forward, reverse = total[: num + made], total[num + made :]
    of_data = log_w[:, :num]
    error, worth = _relative_error(of_data), effective_sample_size(of_data)
    return Bounds(forward[:num], forward[num:], -reverse, rates[:, : num + made].mean(1), error, worth)


def _relative_error(log_w: Tensor) -> Tensor:
    """sd(w) / (mean(w) sqrt(K)) of the weights of each datum, (K, B): (B,)."""
    share = log_w.softmax(0) * len(log_w)  # w / mean(w)
    return (share.square().mean(0) - 1).clamp_min(0).div(max(1, len(log_w) - 1)).sqrt()


Rung: TypeAlias = Callable[[Latents, Tensor, Tensor, Tensor], tuple[Latents, Tensor, Tensor]]
"""(z, b before, b after, step size), the last three (B,): the next z, the gain of log w (K, B), and the rate (B,)."""


def rung(chains: LatentChains, z: Latents, num_leapfrogs: int) -> Rung:
    """One step along the path, as one graph for latents of the shapes of ``z`` where the pair can be traced."""
    names = list(z)

    def plain(*tensors: Tensor) -> tuple[Tensor, ...]:
        before, after, step_size, *values = tensors
        at = dict(zip(names, values, strict=True))
        gain = (after - before) * chains.log_likelihood(at)
        moved, rate = chains.transition(at, step_size, num_leapfrogs, after)
        return gain, rate.mean(0), *(moved[name] for name in names)

    like = chains.log_likelihood(z)[0]
    function = traced(plain, *(torch.full_like(like, value) for value in (0.4, 0.5, 0.1)), *z.values())

    def step(z: Latents, before: Tensor, after: Tensor, step_size: Tensor) -> tuple[Latents, Tensor, Tensor]:
        gain, rate, *values = function(before, after, step_size, *(z[name] for name in names))
        return dict(zip(names, values, strict=True)), gain, rate

    return step


@torch.no_grad()
def pilot(step: Rung, z: Latents, path: Tensor, *, progress: bool = False) -> Tensor:
    """Step sizes for each power and datum, (T, B): a run that steers its rates of acceptance to 0.8."""
    size, sizes = torch.full_like(path[0], _FIRST_STEP), []
    for t in track(range(len(path) - 1), "pilot", progress):
        sizes.append(size)
        z, _, rate = step(z, path[t], path[t + 1], size)
        size = size * (_GAIN * (rate - _ACCEPTANCE)).exp()
    return torch.stack(sizes)


@torch.no_grad()
def annealed(
    step: Rung, z: Latents, path: Tensor, step_sizes: Tensor, *, progress: bool = False
) -> tuple[Tensor, Tensor]:
    """log w of every chain along a path of powers: (K, B), float64, nats; and the rates of acceptance, (T, B).

    Args:
        step: from :func:`rung`.
        z: draws of the tempered posterior at the first powers, (K, B, ...) by name.
        path: (T + 1, B), the powers of each datum.
        step_sizes: (T, B).
        progress: show a progress bar.
    """
    gains, rates = torch.zeros((), dtype=torch.float64, device=path.device), []
    for t in track(range(len(step_sizes)), "annealing", progress):
        z, gain, rate = step(z, path[t], path[t + 1], step_sizes[t])
        gains = gains + gain.double()
        rates.append(rate)
    return gains, torch.stack(rates)


def _chains(program: Program, batch: Batch, made: int, num_chains: int) -> tuple[LatentChains, Latents]:
    """Chains at the data, simulated data, and these again, where they start at the z that the data were made with."""
    one = run_particles(program, batch, 1)
    if one.plate is None or one.log_w.shape[1] != num_rows(batch):
        raise UsageError("annealing is for each datum, and the pair has no data plate: put one around its latents.")
    few = run_particles(program, take_rows(batch, slice(made)), 1, one.held)
    dream = dreamt(few, "annealing")
    size, both = num_rows(batch), zip(batch, dream.batch, strict=True)
    rows = tuple(torch.cat([part, new, new]) if is_data(part, size) else part for part, new in both)
    particles = run_particles(program, rows, num_chains, one.held)
    start, prior = {}, prior_latents(particles)
    for name in particles.latents:
        site = dream.guide_sites[name]
        exact: Tensor = site["value"]  # (1, ..., made, ...)
        dim: Any = side_axis(site, particles.plate, exact)
        first = prior[name].narrow(dim, 0, num_rows(rows) - made)
        start[name] = torch.cat([first, exact.expand(num_chains, *exact.shape[1:])], dim)
    return LatentChains(particles, "annealing"), start
