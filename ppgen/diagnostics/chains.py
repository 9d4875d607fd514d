"""Draws of p(z | x) by the No-U-Turn sampler, to hold a guide against; and whether they may be called a reference.

Pyro's NUTS runs on the latents of some data, at the pair's own model. The M chains of each of B data are M copies of
the data in *one* batch: the target is the product of M B posteriors, and one chain on it is a chain on each factor,
with one trajectory length and one step size for all. The copies start at draws of the prior, apart from each other, so
that R-hat sees posteriors with parts that no chain crosses. Latents that all data share have one posterior: their M
chains run one after another on all the data, each from its own draw of the prior.

A datum has a reference if, for every number of its latents, the rank-normalised split R-hat is at most 1.05 and the
bulk effective sample size at least 100 a chain.

Hoffman and Gelman, The No-U-Turn sampler, JMLR 2014. Vehtari, Gelman, Simpson, Carpenter and Bürkner,
Rank-normalization, folding, and localization: an improved R-hat, Bayesian Analysis 2021 (R-hat, sizes; 1.05 is the
bound of Stan's interfaces for a first look, 1.01 that of the paper for final runs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide.initialization import init_to_sample
from torch import Tensor

from ppgen.machine.progress import bar, check_time
from ppgen.pairs.latents import latent_names, side_by_side
from ppgen.pairs.looking import looked_at
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import detached, in_evaluation
from ppgen.pairs.rows import num_rows, take_rows
from ppgen.pairs.tracing import Batch, Particles
from ppgen.posterior.arviz_bridge import convergence_of

__all__ = ["ChainBudget", "PosteriorChains", "joint_chains", "posterior_chains"]

_R_HAT, _SIZE_PER_CHAIN = 1.05, 100


@dataclass(frozen=True, kw_only=True)
class ChainBudget:
    """M chains of ``num_draws`` after ``warmup`` steps each; at most 2^``max_tree_depth`` gradients a step."""

    num_chains: int = 4
    warmup: int = 150
    num_draws: int = 250
    max_tree_depth: int = 6


@dataclass(frozen=True, eq=False)
class PosteriorChains:
    """Draws of the posterior of B data and what tells whether they are.

    ``draws`` (M, S, B, F), float64; ``names`` of the F numbers of a datum's latents; ``r_hat`` and
    ``effective_sample_size`` (B, F); ``divergences``: how many trajectories diverged. Of latents that all data share
    B is 1.
    """

    draws: Tensor
    names: tuple[str, ...]
    r_hat: Tensor
    effective_sample_size: Tensor
    divergences: int

    @property
    def converged(self) -> Tensor:
        """Which data have a reference: (B,)."""
        sizes = self.effective_sample_size >= _SIZE_PER_CHAIN * len(self.draws)
        return ((self.r_hat <= _R_HAT) & sizes).all(1)


def posterior_chains(
    pair: Pair,
    batch: Batch,
    budget: ChainBudget | None = None,
    *,
    shared: Mapping[str, Tensor] | None = None,
    progress: bool = False,
) -> PosteriorChains:
    """NUTS on the continuous latents of every datum of ``batch``.

    Args:
        pair: normalised, with continuous latents in its data plate.
        batch: a few data.
        budget: how long to run.
        shared: where the latents outside the data plate are held, by site name, each (1, ..., *event).
        progress: show a progress bar.
    """
    budget = ChainBudget() if budget is None else budget
    copies = take_rows(batch, torch.arange(num_rows(batch)).repeat(budget.num_chains))  # (M B, ...)
    one = looked_at(pair, copies, seed=None)
    model = poutine.condition(pair.model, data={name: value[0] for name, value in (shared or {}).items()})
    model = poutine.scale(model, 1 / one.scale)  # the posterior of a datum counts it once, not N / B times
    found, divergences = _sampled(pair, model, copies, budget, progress)
    together = side_by_side(one, {name: found[name].double() for name in one.latents})  # (S, M B, F)
    draws = together.reshape(len(together), budget.num_chains, -1, together.shape[-1]).movedim(1, 0)  # (M, S, B, F)
    return _judged(draws, one, divergences)


def joint_chains(
    pair: Pair, batch: Batch, budget: ChainBudget | None = None, *, progress: bool = False
) -> PosteriorChains:
    """NUTS on the continuous latents that all data of ``batch`` share, and on whatever else the model draws.

    Args:
        pair: normalised, with all its latents continuous.
        batch: all the data that the latents are to be inferred from.
        budget: how long to run.
        progress: show a progress bar.
    """
    budget = ChainBudget() if budget is None else budget
    one = looked_at(pair, batch, seed=None)
    one = one if one.outside is None else one.outside
    runs = [_sampled(pair, pair.model, batch, budget, progress) for _ in range(budget.num_chains)]
    chains = [side_by_side(one, {name: found[name].double() for name in one.latents}) for found, _ in runs]
    return _judged(torch.stack(chains), one, sum(divergences for _, divergences in runs))  # (M, S, 1, F)


def _judged(draws: Tensor, one: Particles, divergences: int) -> PosteriorChains:
    """Chains (M, S, B, F) of the latents that are counted in ``one``."""
    r_hat, size = convergence_of(draws.flatten(2))
    shape = draws.shape[2:]
    return PosteriorChains(draws, tuple(latent_names(one)), r_hat.view(shape), size.view(shape), divergences)


def _sampled(
    pair: Pair, model: Callable[..., Any], batch: Batch, budget: ChainBudget, progress: bool
) -> tuple[dict[str, Tensor], int]:
    """One chain of Pyro's: samples by site, (S, ...), and how many trajectories diverged."""
    kernel = NUTS(model, init_strategy=init_to_sample, max_tree_depth=budget.max_tree_depth)
    with bar(progress) as shown, detached(pair.model), in_evaluation(pair), pyro.validation_enabled(False):
        task = shown.add_task("reference", total=budget.warmup + budget.num_draws, note="NUTS")

        def moved(*_: Any) -> None:
            check_time()
            shown.advance(task)

        chain = MCMC(kernel, budget.num_draws, budget.warmup, hook_fn=moved, disable_progbar=True)
        chain.run(*batch)
    found: dict[str, Any] = chain.get_samples()
    return found, sum(map(len, chain.diagnostics()["divergences"].values()))
