"""Latents of each datum as one point u of R^D, and the densities of model and guide there, with their gradients.

    z = T(u),     log p(u, x) = log p(z, x) + log |dz/du|,     log q(u | x) = log q(z | x) + log |dz/du|

T is a bijection from the reals to the support of each of the guide's latents (``torch.distributions.biject_to``); u
holds the coordinates of all of them, side by side. Where :mod:`ppgen.chains.posterior` moves chains with the pair held
fixed, here everything has a gradient by the pair's parameters and by u: trajectories that a bound is made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to

from ppgen.errors import UsageError, shown
from ppgen.pairs.latents import set_apart, side_by_side
from ppgen.pairs.sites import Site, per_datum
from ppgen.pairs.stacking import part_of_value
from ppgen.pairs.tracing import Particles

__all__ = ["FreeLatents", "unconstraining"]


@dataclass(frozen=True)
class FreeLatents:
    """The continuous latents of ``particles``, K for each of B data; ``needed_by``: who asks, for errors.

    What else the guide drew (masked noise that its latents depend on) stays as it was drawn.

    >>> import ppgen
    >>> from ppgen.pairs import Program, run_particles
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"), latent_dim=2)
    >>> particles = run_particles(Program(pair.model, pair.guide), (torch.zeros(4, 3),), 5)
    >>> free = FreeLatents(particles, "a test")
    >>> free.start.shape, free.slope(free.start, torch.tensor(0.5)).shape
    (torch.Size([5, 4, 2]), torch.Size([5, 4, 2]))
    """

    particles: Particles
    needed_by: str

    @cached_property
    def start(self) -> Tensor:
        """u at the guide's draws, (K, B, D)."""
        return side_by_side(self.particles, self._start)

    def log_joint(self, u: Tensor) -> Tensor:
        """log p(u, x), (K, B), in nats."""
        run, log_jacobian = self._scored(u)
        return run.log_p + log_jacobian

    @cached_property
    def log_joint_at_start(self) -> Tensor:
        """:meth:`log_joint` at the guide's draws, of which the pair's runs are known."""
        return self.particles.log_p + self._log_jacobian(self._start)

    def slope(self, u: Tensor, power: Tensor | None = None) -> Tensor:
        """The gradient by u of (1 - b) log q(u | x) + b log p(u, x), b the power, (); None: 1.  (K, B, D)"""
        with torch.enable_grad():
            at = u if u.requires_grad else u.detach().requires_grad_()
            run, log_jacobian = self._scored(at)
            density = run.log_p if power is None else (1 - power) * run.log_q + power * run.log_p
            (slope,) = torch.autograd.grad((density + log_jacobian).sum(), at, create_graph=True)
        return slope if torch.is_grad_enabled() else slope.detach()

    @cached_property
    def _transforms(self) -> dict[str, Any]:
        return {name: unconstraining(self._site(name), self.needed_by) for name in self.particles.latents}

    @cached_property
    def _start(self) -> dict[str, Tensor]:
        return {name: transform.inv(self._site(name)["value"]) for name, transform in self._transforms.items()}

    def _scored(self, u: Tensor) -> tuple[Particles, Tensor]:
        """The pair's sites at u, and log |dz/du|, (K, B)."""
        run, own = self.particles, set_apart(self.particles, u, self._start)
        z = {name: self._transforms[name](value) for name, value in own.items()}
        sites = {name: _moved(site, z[name]) if name in z else site for name, site in run.guide_sites.items()}
        return run.scored_at(sites), self._log_jacobian(own)

    def _log_jacobian(self, u: dict[str, Tensor]) -> Tensor:
        terms = []
        for name, value in u.items():
            transform = self._transforms[name]
            log_jacobian = transform.log_abs_det_jacobian(value, transform(value))
            width = log_jacobian.dim() + self.particles.particle_dim
            terms.append(per_datum(self._site(name), self.particles.plate, log_jacobian, width).sum(-1))
        return torch.stack(terms).sum(0)

    def _site(self, name: str) -> Any:
        return self.particles.guide_sites[name]


def unconstraining(site: Site, needed_by: str) -> Any:
    """T of a continuous latent's site, z = T(u).

    Raises:
        UsageError: torch knows no bijection from the reals to its support.
    """
    try:
        return biject_to(site["fn"].support)
    except NotImplementedError as error:  # of torch, where a support has no bijection
        raise UsageError(
            f"site {shown(site['name'])} is continuous on {site['fn'].support}, to which torch has no bijection from "
            f"the reals: {needed_by} moves it there; register one with torch.distributions.biject_to."
        ) from error


def _moved(site: Site, value: Tensor) -> Site:
    """The site at another value, (K, ...), not scored there."""
    moved = {key: was for key, was in site.items() if key != "scored"} | {"value": value}
    if "parts" in site:
        moved["parts"] = tuple(_moved(part, part_of_value(value, k)) for k, part in enumerate(site["parts"]))
    return moved
