"""A run of a pair with every discrete latent at its mean: what log w is to first order there.

z-bar_1 = mu_1(x), z-bar_2 = mu_2(z-bar_1), ...; F is log w there, J_i = dF/dz-bar_i its slope, through later means too.
Both are functions of x alone (and of the reparameterized latents, drawn anew), so that a term in J_i whose factor has
mean zero given what was drawn before z_i is a control variate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.sites import Site, per_datum
from ppgen.pairs.tracing import Particles, run_particles

__all__ = ["AtMeans"]


@dataclass(frozen=True)
class AtMeans:
    """``level``: F, (1, B), in nats; ``slopes``: J_i by site, of the shape of the site's value in one particle."""

    level: Tensor
    slopes: Mapping[str, Tensor]

    @classmethod
    def of(cls, particles: Particles, needed_by: str) -> AtMeans:
        """Of the program and batch of ``particles``: one more run, and one derivative.

        Raises:
            UsageError: a discrete site has no mean; it is named.
        """
        means: dict[str, Tensor] = {}

        def take(site: Site) -> Tensor | None:
            if not site["fn"].has_rsample:
                means[site["name"]] = family_of(site, needed_by).mean(site["fn"])
            return means.get(site["name"])

        with torch.enable_grad():
            level = run_particles(particles.program, particles.batch, 1, draw=take).log_w  # (1, B)
            slopes = torch.autograd.grad(level.sum(), list(means.values()))
        return cls(level.detach(), dict(zip(means, slopes, strict=True)))

    def along(self, particles: Particles, numbers: Callable[[Site], Tensor]) -> Tensor:
        """sum_i J_i . numbers_i, (K, B), with numbers of the shape of the value of each of the particles' sites."""
        sites, plate = particles.guide_sites, particles.plate
        terms = [per_datum(sites[name], plate, numbers(sites[name]) * slope) for name, slope in self.slopes.items()]
        return torch.stack([term.sum(-1) for term in terms]).sum(0)
