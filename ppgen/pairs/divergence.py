"""Kullback-Leibler divergences of a pair's sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ppgen.distributions.wrappers import family_name, nested
from ppgen.errors import shown
from ppgen.pairs.sites import Site, is_latent, per_datum
from ppgen.pairs.tracing import Particles

__all__ = ["divergences", "moment_kl", "sampled_sites", "site_kl", "unit_entropy", "unit_kl"]


def divergences(particles: Particles) -> list[Tensor]:
    """KL( q || p ) of the latents given those before them, (K, B) each, in nats: exact where they can be.

    One for each latent site. A guide that draws its latents through auxiliary sites, as autoguides do, has a density of
    all of them together only: then there is one divergence, log q - log p at the particles. An auxiliary site that is
    masked, as that of dropout is, has no part in the density.
    """
    if particles.made_of:
        prior = sum(particles.log_prob(name) for name in particles.latents)
        return [particles.log_q - prior]
    return [site_kl(particles, name) for name in particles.latents]


def sampled_sites(particles: Particles) -> dict[str, str]:
    """The latents whose divergence :func:`divergences` samples at the particles, by name, and of each why."""
    if particles.made_of:
        sources = ", ".join(map(shown, particles.made_of))
        return dict.fromkeys(particles.latents, f"the guide makes it of {sources}, and has a density of all together")
    found = {}
    for name in particles.latents:
        q, p = particles.guide_sites[name]["fn"], particles.model_sites[name]["fn"]
        if _exact(particles, name, q, p) is None:
            late = _before(particles.model_sites, name) - _before(particles.guide_sites, name)
            found[name] = (
                f"the model draws it given {', '.join(map(shown, sorted(late)))}, which the guide draws after it"
                if late
                else f"torch has no divergence of {family_name(q)} from {family_name(p)}"
            )
    return found


def site_kl(particles: Particles, name: str) -> Tensor:
    """KL( q(z_s | .) || p(z_s | .) ) of latent site ``name``, shape (K, B), in nats: exact where it can be.

    The closed form holds given the particles' values of the sites before it. It is used when the model draws the site
    from sites that the guide, too, has drawn before it (otherwise the model's distribution depends on the site's own
    draw), and when torch knows the divergence of the two distributions. Else: log q - log p at the particles.
    """
    guide = particles.guide_sites[name]
    kl = _exact(particles, name, guide["fn"], particles.model_sites[name]["fn"])
    if kl is not None:
        return particles.reduced(guide, kl)
    return particles.log_prob(name, particles.guide_sites) - particles.log_prob(name)


def unit_kl(particles: Particles, name: str) -> Tensor | None:
    """:func:`site_kl` of each unit of a latent site by itself, (K, B, U), in nats.

    None where units depend on each other given the sites before them, under guide or model, so that the divergence is
    of all of them together only.
    """
    model, guide = particles.model_sites[name], particles.guide_sites[name]
    (p, dims), (q, guide_dims) = _unwrapped(model["fn"]), _unwrapped(guide["fn"])
    if dims != guide_dims or not (_one_unit(p) and _one_unit(q)) or particles.made_of:
        return None
    kl = _exact(particles, name, q, p)
    if kl is None:
        kl = q.log_prob(guide["value"]) - p.log_prob(guide["value"])
    return _by_unit(particles, guide, kl, dims)


def unit_entropy(particles: Particles, name: str) -> Tensor | None:
    """The entropy of q(z_u | .) of each unit of a latent site, (K, B, U), in nats; None where there is no such form."""
    guide = particles.guide_sites[name]
    q, dims = _unwrapped(guide["fn"])
    try:
        return _by_unit(particles, guide, q.entropy(), dims) if _one_unit(q) else None
    except NotImplementedError:  # of torch, where a family has no entropy in closed form
        return None


def moment_kl(q: Tensor, p: Tensor) -> Tensor:
    """KL(q || p) of Gaussians with the moments of draws (K, B, E), in nats, mean over B: (E,). 0 where p is fixed."""
    q_loc, q_var, p_loc, p_var = q.double().mean(0), q.double().var(0), p.double().mean(0), p.double().var(0)
    ratio = (q_var / p_var).clamp_min(1e-12)
    kl = 0.5 * (ratio - 1 - ratio.log() + (q_loc - p_loc).square() / p_var)  # (B, E)
    return kl.where(p_var > 0, 0).mean(0)


def _exact(particles: Particles, name: str, q: Any, p: Any) -> Tensor | None:
    """KL(q || p) of a site, where there is a form and p does not depend on what the guide draws later."""
    if not _before(particles.model_sites, name) <= _before(particles.guide_sites, name):
        return None
    try:
        return torch.as_tensor(kl_divergence(q, p))  # of what is masked out whole, a number: 0.0
    except NotImplementedError:  # of torch, where no divergence of the two families is registered
        return None


def _unwrapped(fn: Any) -> tuple[Any, int]:
    """The distribution within ``to_event``, and how many dims that has put into the event."""
    *events, core = nested(fn, dist.Independent)
    return core, sum(event.reinterpreted_batch_ndims for event in events)


def _one_unit(fn: Any) -> bool:
    """Whether an event is one number, or one discrete draw (a one-hot row)."""
    return fn.event_dim == 0 or bool(fn.support.is_discrete)


def _by_unit(particles: Particles, site: Site, numbers: Tensor, dims: int) -> Tensor:
    """Numbers of the shape of a site's plates and units: (K, B, U)."""
    fn = site["fn"]
    whole = numbers.expand(fn.batch_shape + fn.event_shape[:dims])
    return per_datum(site, particles.plate, whole, dims)


def _before(sites: Mapping[str, Site], name: str) -> set[str]:
    latents = [site for site in sites if is_latent(sites[site])]
    return set(latents[: latents.index(name)])
