"""Kullback-Leibler divergences of a pair's sites."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.distributions import kl_divergence

from ppgen.sites import Site, is_latent
from ppgen.tracing import Particles

__all__ = ["divergences", "site_kl"]


def divergences(particles: Particles) -> list[Tensor]:
    """KL( q || p ) of the latents given those before them, (K, B) each, in nats: exact where they can be.

    One for each latent site. A guide that draws its latents through auxiliary sites, as autoguides do, has a density of
    all of them together only: then there is one divergence, log q - log p at the particles. An auxiliary site that is
    masked, as that of dropout is, has no part in the density.
    """
    if any(_is_auxiliary(site) for site in particles.guide_sites.values()):
        prior = sum(particles.log_prob(name) for name in particles.latents)
        return [particles.log_q - prior]
    return [site_kl(particles, name) for name in particles.latents]


def site_kl(particles: Particles, name: str) -> Tensor:
    """KL( q(z_s | .) || p(z_s | .) ) of latent site ``name``, shape (K, B), in nats: exact where it can be.

    The closed form holds given the particles' values of the sites before it. It is used when the model draws the site
    from sites that the guide, too, has drawn before it (otherwise the model's distribution depends on the site's own
    draw), and when torch knows the divergence of the two distributions. Else: log q - log p at the particles.
    """
    model, guide = particles.model_sites[name], particles.guide_sites[name]
    if _before(particles.model_sites, name) <= _before(particles.guide_sites, name):
        try:
            return particles.reduced(guide, kl_divergence(guide["fn"], model["fn"]))
        except NotImplementedError:
            pass
    return particles.log_prob(name, particles.guide_sites) - particles.log_prob(name)


def _is_auxiliary(site: Site) -> bool:
    return site["infer"].get("is_auxiliary", False) and site["mask"] is not False


def _before(sites: Mapping[str, Site], name: str) -> set[str]:
    latents = [site for site in sites if is_latent(sites[site])]
    return set(latents[: latents.index(name)])
