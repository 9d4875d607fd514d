"""Rules that all others rest on: the pair runs, sites match, shapes fit, log-weights are numbers and come again."""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.errors import UsageError, blame, first_sentence
from ppgen.machine.seeds import manual_seed
from ppgen.pairs.nonfinite import first_nonfinite
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.rows import num_rows
from ppgen.pairs.summation import is_absorbed
from ppgen.pairs.traces import sites_of
from ppgen.pairs.tracing import Batch
from ppgen.testing.checks import CheckFailed, NotApplicable, needs_a_density, pair_check
from ppgen.testing.sandbox import SEED, particles, program_of, random_sites, unlike

__all__ = [
    "check_log_weights",
    "check_runs",
    "check_same_seed",
    "check_shapes_fit_plates",
    "check_sites_match",
    "check_structure_is_fixed",
    "check_support",
    "inside",
]


@pair_check("model and guide run on the batch, alone and under a plate of particles", gate=True)
def check_runs(pair: Pair, batch: Batch) -> None:
    """``guide(*batch)`` and ``model(*batch)`` run; so do both with latents of shape (K, B, ...)."""
    with isolated():
        pair.guide(*batch)
        pair.model(*batch)
    size = unlike(num_rows(batch))
    try:
        particles(pair, batch, size)
    except UsageError:
        return  # what does not fit is named by the rules of sites and shapes
    except Exception as error:
        raise CheckFailed(
            f"runs alone, and under a plate of {size} particles raises {type(error).__name__}: {first_sentence(error)}",
            where=blame(error, "the pair"),
            advice="latents come as (K, B, ...): count dimensions from the right, and expand x to z.shape[:-1] "
            "before torch.cat",
        ) from error


@pair_check("every run has the same sites, in the same order, whatever was drawn", gate=True)
def check_structure_is_fixed(pair: Pair, batch: Batch) -> None:
    """Site names, shapes and what is observed are those of any other run."""
    first: dict[str, dict[str, Any]] = {}
    for seed in range(SEED, SEED + 8):
        for kind in ("guide", "model"):
            found = _structure(getattr(pair, kind), batch, seed)
            before = first.setdefault(kind, found)
            if found != before:
                names = sorted({name for name, _ in found.items() ^ before.items()}) or list(found)
                raise CheckFailed(
                    f"two runs of the {kind} differ in it",
                    where=f"site {names[0]!r}",
                    advice="draw every site in every run, and choose by value with torch.where or poutine.mask",
                )
            if list(found) != list(before):
                raise CheckFailed(
                    f"its order differs between two runs of the {kind}",
                    where=f"site {next(iter(found))!r}",
                    advice="draw the sites in one fixed order",
                )


@pair_check("guide and model have the same latent sites, with the same shapes", gate=True)
def check_sites_match(pair: Pair, batch: Batch) -> None:
    """What the model leaves latent, the guide draws, and nothing else."""
    particles(pair, batch, unlike(num_rows(batch)))


@pair_check("the shape of every site fits its plates: nothing broadcasts in silence", gate=True)
def check_shapes_fit_plates(pair: Pair, batch: Batch) -> None:
    """Log-probabilities vary over the plates of their site and over nothing else; (N,) is never set against (N, 1)."""
    run = particles(pair, batch, unlike(num_rows(batch)))
    for part in (run, run.outside):
        if part is not None:
            _ = part.log_w


@pair_check("data, and what the guide draws, lie in the support of the model", gate=True)
def check_support(pair: Pair, batch: Batch) -> None:
    """Elsewhere log p(x, z) would be minus infinity, or a number without meaning."""
    run = particles(pair, batch, unlike(num_rows(batch)))
    for name, site in run.model_sites.items():
        if site_is_subsample(site) or torch.isnan(site["value"]).any() or inside(site["fn"], site["value"]):
            continue  # what is no number is named by the rule of log-weights
        who = "the data" if site["is_observed"] else "the guide's draws"
        raise CheckFailed(
            f"{who} leave the support {site['fn'].support} of the model's distribution",
            where=f"site {name!r}",
            advice="choose a likelihood for this kind of data"
            if site["is_observed"]
            else "give the guide a distribution with the prior's support (transform it, or change the prior)",
        )


@pair_check("log-weights are finite, one for each particle and datum: shape (K, B)", gate=True)
def check_log_weights(pair: Pair, batch: Batch) -> None:
    """log p(x, z) - log q(z | x), in nats; what is not finite is traced to the site where it arose."""
    needs_a_density(pair)
    size = unlike(num_rows(batch))
    run = particles(pair, batch, size)
    if not _finite(run.log_w) or (run.outside is not None and not _finite(run.outside.log_w)):
        raise CheckFailed(
            first_nonfinite(program_of(pair), batch),
            where="log-weights",
            advice="keep scales positive and away from zero (exp or softplus), and logits bounded, at that site",
        )
    if run.plate is None:
        raise NotApplicable(f"all data together are one datum, since {run.data_plate.why or 'the pair says so'}")


@pair_check("the same seed gives the same draws and log-weights", gate=True)
def check_same_seed(pair: Pair, batch: Batch) -> None:
    """Two runs after ``torch.manual_seed`` agree to the bit: nothing else is random, and no run changes the next."""
    size = unlike(num_rows(batch))
    first, second = (particles(pair, batch, size) for _ in range(2))
    for kind in ("guide", "model"):
        before, after = (getattr(run, f"{kind}_sites") for run in (first, second))
        for name in before:
            if is_absorbed(before[name]):
                continue
            same = [
                torch.equal(before[name]["value"], after[name]["value"]),
                torch.equal(first.log_prob(name, before), second.log_prob(name, after)),
            ]
            if not all(same):
                what = "log-probability" if same[0] else "value"
                raise CheckFailed(
                    f"its {what} differs between two runs with one seed",
                    where=f"site {name!r} of the {kind}",
                    advice="draw with pyro.sample or torch's global generator, and keep no state that a run changes",
                )


def inside(distribution: Any, value: Tensor) -> bool:
    """Whether all of ``value`` is in the distribution's support (which not every distribution declares)."""
    try:
        return bool(distribution.support.check(value).all())
    except NotImplementedError:  # of torch, where a distribution declares none
        return True


def _structure(function: Any, batch: Batch, seed: int) -> dict[str, Any]:
    manual_seed(seed)
    with isolated():
        sites = random_sites(sites_of(function, *batch))
    return {name: (site["is_observed"], tuple(site["fn"].shape())) for name, site in sites.items()}


def _finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())
