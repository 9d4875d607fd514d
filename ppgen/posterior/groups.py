"""Posterior draws as named arrays, of a guide or of ``pyro.infer.MCMC``, with what the model makes of them.

    z_s ~ q(z | x), or the states of chains          posterior
    log w_s = log p(x, z_s) - log q(z_s | x)         sample statistics, of a guide
    log p(x | z_s), x_s ~ p(x | z_s)                 log-likelihood, posterior predictive
    (:mod:`ppgen.posterior.replay`) z_s ~ p(z), x_s ~ p(x | z_s)                     prior, prior predictive

Draws of a guide can be *importance-resampled*: of M draws with log-weights log w, S are taken with replacement, with
probabilities proportional to the weights, the largest of which are smoothed by a generalized Pareto distribution. As M
grows they become draws of the posterior, in practice where the weights' k-hat is below 0.7. The latents of a datum are
taken by its own weights; where latents stand outside the data plate there is one weight, that of all data together.

Smith and Gelfand, Bayesian statistics without tears, 1992 (resampling). Vehtari et al., Pareto smoothed importance
sampling, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyro
import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.errors import UsageError
from ppgen.machine.progress import track
from ppgen.pairs.looking import looked_at, looking
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Runner
from ppgen.pairs.sites import Site, is_latent
from ppgen.pairs.structure import runner_of
from ppgen.pairs.traces import sites_of
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.posterior.arviz_bridge import smoothed_log_weights
from ppgen.posterior.replay import Replay, Scores, Variables, observations
from ppgen.posterior.variables import Variable

__all__ = ["Groups", "guide_groups", "mcmc_groups", "numbers_of_a_draw", "posterior_groups"]

_CELLS = 2**24
"""Numbers in the largest site of one block of draws."""

_GROUPS = (
    *("posterior", "posterior_predictive", "log_likelihood", "sample_stats"),
    *("prior", "prior_predictive", "observed_data"),
)
"""As they stand in an InferenceData."""

_PRIOR_DRAWS = 500
"""Draws of the prior beside those of MCMC."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Draws by ArviZ's names of groups, by site; a group that does not apply is empty.

    ``chains``: how many the posterior's draws come from, one after another. ``kind`` of draws: ``"guide"``,
    ``"importance-resampled"``, ``"mcmc"``. ``facts`` of them, to be written down with them.
    """

    posterior: Variables = field(default_factory=dict)
    sample_stats: Variables = field(default_factory=dict)
    log_likelihood: Variables = field(default_factory=dict)
    posterior_predictive: Variables = field(default_factory=dict)
    prior: Variables = field(default_factory=dict)
    prior_predictive: Variables = field(default_factory=dict)
    observed_data: Variables = field(default_factory=dict)
    chains: int = 1
    kind: str = "guide"
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Variables]:
        """The groups by their names."""
        return {name: getattr(self, name) for name in _GROUPS}


def guide_groups(
    pair: Pair, batch: Batch, num_samples: int, resampled_from: int | None = None, *, progress: bool = False
) -> Groups:
    """``num_samples`` draws of a pair's guide at a batch; see :func:`ppgen.to_inference_data`.

    An implicit pair, which states no density of x and infers nothing, has prior and prior predictive alone; an
    unnormalised one, whose model is no sampler, has posterior and weights alone.
    """
    _check_sizes(pair, num_samples, resampled_from)
    pair.prepare(*batch)
    with looking(pair), pyro.validation_enabled(False):
        one, replay = _begun(pair, batch, progress)
        drawn = _drawn(one, num_samples, resampled_from, replay) if pair.has_weights else Groups()
        inferred = (drawn.posterior or one.summed) and pair.has_prior
        scores = replay.scored(drawn.posterior, num_samples) if inferred else Scores()
        prior, prior_predictive = replay.prior(num_samples) if pair.has_prior else ({}, {})
    return Groups(
        posterior=drawn.posterior | scores.summed | scores.deterministic,
        sample_stats=drawn.sample_stats,
        log_likelihood=scores.log_likelihood,
        posterior_predictive=scores.predictive,
        prior=prior,
        prior_predictive=prior_predictive,
        observed_data=_observed(one.model_sites),
        kind=drawn.kind,
        facts=drawn.facts,
    )


def posterior_groups(
    pair: Pair, batch: Batch, num_samples: int, resampled_from: int | None = None, *, progress: bool = False
) -> Groups:
    """The posterior and the sample statistics of :func:`guide_groups` alone, the same draws from the same seed."""
    _check_sizes(pair, num_samples, resampled_from)
    pair.prepare(*batch)
    with looking(pair), pyro.validation_enabled(False):
        one, replay = _begun(pair, batch, progress)
        drawn = _drawn(one, num_samples, resampled_from, replay)
        summed = replay.scored(drawn.posterior, num_samples).summed if one.summed else {}
    return replace(drawn, posterior=drawn.posterior | summed)


def _begun(pair: Pair, batch: Batch, progress: bool) -> tuple[Particles, Replay]:
    """One particle, and how the model is run again."""
    one = run_particles(Program(pair.model, pair.guide), batch, 1)
    return one, Replay(runner_of(one.program, batch, 2), bool(one.summed), _block(one), progress)


def mcmc_groups(mcmc: Any, batch: tuple[Any, ...], options: Mapping[str, Any], *, progress: bool = False) -> Groups:
    """The draws of a ``pyro.infer.MCMC``; ``batch`` and ``options`` are the arguments of its model.

    Latents that it summed out have no draws: the predictive then draws them from the model, and there is no
    log-likelihood.

    Raises:
        UsageError: it was not run, or on a potential without a model.
    """
    chains = _chains(mcmc)
    model = partial(mcmc.kernel.model, **options)
    with torch.no_grad():
        sites = sites_of(model, *batch)
        posterior = {name: Variable.of(sites[name], values.flatten(0, 1)) for name, values in chains.items()}
        rank = max(len(site["fn"].batch_shape) for site in sites.values() if not site_is_subsample(site))
        runner = Runner(Program(model, model), batch, 1, -1 - rank, together=False)  # one draw after another
        num = len(next(iter(posterior.values())).values)
        replay = Replay(runner, False, 1, progress)
        scores, (prior, prior_predictive) = replay.scored(posterior, num), replay.prior(_PRIOR_DRAWS)
    summed_out = any(is_latent(site) and name not in posterior for name, site in sites.items())
    return Groups(
        posterior=posterior | scores.deterministic,
        sample_stats={"diverging": Variable(_diverging(mcmc, next(iter(chains.values()))))},
        log_likelihood={} if summed_out else scores.log_likelihood,
        posterior_predictive=scores.predictive,
        prior=prior,
        prior_predictive=prior_predictive,
        observed_data=_observed(sites),
        chains=len(next(iter(chains.values()))),
        kind="mcmc",
    )


def numbers_of_a_draw(pair: Pair, batch: Batch) -> int:
    """How many numbers one draw of everything has: latents and data, of the posterior and of the prior."""
    return 2 * sum(_sizes(looked_at(pair, batch)))


def _drawn(one: Particles, num_samples: int, resampled_from: int | None, replay: Replay) -> Groups:
    """Posterior and sample statistics."""
    num = num_samples if resampled_from is None else resampled_from
    runs = [
        _read(run_particles(one.program, one.batch, min(replay.block, num - start)))
        for start in track(range(0, num, replay.block), "posterior", replay.progress)
    ]
    posterior, weights = ({n: Variable.joined([run[i][n] for run in runs]) for n in runs[0][i]} for i in (0, 1))
    if resampled_from is None:
        return Groups(posterior=posterior, sample_stats=weights)
    return _resampled(one, posterior, weights, num_samples)


def _read(particles: Particles) -> tuple[Variables, Variables]:
    """The latents, and what the sites inside and outside the data plate add to a draw's log-weight."""
    sites, plate = particles.guide_sites, particles.plate
    latents = {name: Variable.of(site, site["value"]) for name, site in sites.items() if is_latent(site)}
    weights = {"log_weight": Variable(particles.log_w, plates={} if plate is None else {-1: plate})}
    if particles.outside is not None:
        weights["log_weight_global"] = Variable(particles.outside.log_w)
    return latents, weights


def _resampled(one: Particles, posterior: Variables, weights: Variables, num_samples: int) -> Groups:
    log_w, plate = weights["log_weight"].values, one.plate  # (M, B)
    if one.outside is not None:
        if one.scale != 1:
            raise UsageError(
                f"resampling needs the weight of all data together, since {', '.join(map(repr, one.outside.latents))} "
                f"stands outside the data plate, and the batch is one of {one.scale:.3g} parts of them: give all data."
            )
        log_w = (weights["log_weight_global"].values + log_w.sum(1, keepdim=True)).reshape(-1, 1)  # (M, 1)
    smoothed, k = smoothed_log_weights(log_w)
    rows = torch.multinomial(smoothed.exp().T, num_samples, replacement=True).T  # (S, B), or (S, 1)
    own = {} if plate is None or one.outside is not None else {-1: plate}
    rows = rows if own else rows[:, 0]
    return Groups(
        posterior={name: z.take(rows, plate) for name, z in posterior.items()},
        sample_stats={"candidate": Variable(rows, plates=own)},
        kind="importance-resampled",
        facts={"num_candidates": len(log_w), "pareto_k": k.where(log_w.amax(0) > log_w.amin(0), 0.0).tolist()},
    )


def _observed(sites: Mapping[str, Site]) -> Variables:
    return {name: Variable.of(site, site["value"][None]) for name, site in observations(sites).items()}


def _block(one: Particles) -> int:
    return max(1, _CELLS // max(1, *_sizes(one)))


def _sizes(one: Particles) -> list[int]:
    """Numbers in the value of each site."""
    return [site["value"].numel() for site in one.model_sites.values() if not site_is_subsample(site)]


def _chains(mcmc: Any) -> dict[str, Tensor]:
    """Draws by site, (chains, draws, ...)."""
    if getattr(mcmc, "_samples", None) is None or mcmc.kernel.model is None:
        raise UsageError(
            "expected an MCMC that was run on a model, got one without draws or on a bare potential: call "
            "mcmc.run(*batch) first, with a kernel made from a model."
        )
    chains: dict[str, Tensor] = mcmc.get_samples(group_by_chain=True)
    return chains


def _diverging(mcmc: Any, like: Tensor) -> Tensor:
    """Whether each draw came of a divergent trajectory, (chains * draws,)."""
    diverging = torch.zeros(like.shape[:2], dtype=torch.bool)
    for chain, draws in enumerate(mcmc.diagnostics().get("divergences", {}).values()):
        diverging[chain, draws] = True
    return diverging.flatten()


def _check_sizes(pair: Pair, num_samples: int, resampled_from: int | None) -> None:
    for name, value in (("num_samples", num_samples), ("resampled_from", resampled_from)):
        if value is not None:
            at_least(name, value, 1)
    if resampled_from is not None and not pair.has_weights:
        raise UsageError(
            f"resampling needs log-weights, and {type(pair).__name__} is implicit and has none: leave it out."
        )
