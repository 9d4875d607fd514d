"""Draws of discrete latents by noise that is kept, and relaxations of the same noise.

:class:`States` draws z = H(g(u; l)) and keeps u, :class:`Relaxations` draws the values of L runs, one for each discrete
site z_i of a guide: those before z_i as they were drawn, z_i and those after it relaxed by their u. Both are what
``run_particles(draw=)`` takes. Formulas of g, H and of noise given z are in :mod:`ppgen.pairs.discrete_families`.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ppgen.objectives.pathwise import Composed
from ppgen.pairs.discrete_families import DiscreteFamily, check_relaxable, family_of
from ppgen.pairs.sites import Site, check_unscaled, is_latent, per_datum
from ppgen.pairs.tracing import Particles

__all__ = ["Coupled", "Movable", "Relaxations", "States", "slopes_of"]


@dataclass(frozen=True)
class States:
    """Draws states of the discrete latents, and keeps the noise that they are a function of."""

    needed_by: str
    noise: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, site: Site) -> Tensor | None:
        fn, name = site["fn"], site["name"]
        if fn.has_rsample:
            return None
        family = family_of(site, self.needed_by)
        self.noise[name] = self.uniforms(family, fn)
        return self.state(family, fn, self.noise[name]).detach()

    def uniforms(self, family: DiscreteFamily, fn: Any) -> Tensor:
        """Fresh u."""
        return family.uniforms(fn)

    def state(self, family: DiscreteFamily, fn: Any, noise: Tensor) -> Tensor:
        """H(g(u; l))."""
        return family.state(fn, noise)

    def logits(self, particles: Particles, name: str) -> Tensor:
        """l, (K, B, F)."""
        site = particles.guide_sites[name]
        return per_datum(site, particles.plate, family_of(site, self.needed_by).logits(site["fn"]))

    def score(self, particles: Particles, name: str) -> Tensor:
        """grad_l log q(z) = z - E[z], (K, B, F)."""
        site = particles.guide_sites[name]
        score = site["value"] - family_of(site, self.needed_by).mean(site["fn"])
        return per_datum(site, particles.plate, score).detach()


class Movable(States):
    """Draws states in which log-weights have a slope, that of their multilinear extension."""

    def __call__(self, site: Site) -> Tensor | None:
        state = super().__call__(site)
        return None if state is None else state.requires_grad_()


def slopes_of(particles: Particles) -> dict[str, Tensor]:
    """d log w / d z by discrete site, of the shape of its value, at states drawn by :class:`Movable`.

    Where particles were run one after another, each at a part of what was drawn, by the parts.
    """
    sites = {name: particles.guide_sites[name] for name in particles.scored}
    parts = {name: [part["value"] for part in site.get("parts", [site])] for name, site in sites.items()}
    points = [value for values in parts.values() for value in values]
    slopes = iter(torch.autograd.grad(particles.log_w.sum(), points, retain_graph=True))
    found = {name: torch.stack([next(slopes) for _ in values]) for name, values in parts.items()}
    return {name: slope.reshape(sites[name]["value"].shape) for name, slope in found.items()}


@dataclass(frozen=True)
class Relaxations:
    """Draws L runs in one: in run i the latents before z_i are as in ``hard``, and those from z_i on are relaxed."""

    hard: Particles
    states: States
    temperatures: Tensor
    own: dict[str, Tensor] = field(default_factory=dict)
    """The relaxed value of each site z_i in run i."""

    def __call__(self, site: Site) -> Tensor:
        name, fn = site["name"], site["fn"]
        before, num = self._before(name), self.hard.num_particles
        drawn = self.hard.guide_sites[name]["value"].detach()
        if fn.has_rsample:
            return torch.cat([fn.rsample()[: before * num], *[drawn] * (len(self.hard.scored) - before)])
        family = family_of(site, self.states.needed_by)
        natural = family.of(family.logits(fn)[: (before + 1) * num])
        noise = torch.cat([self.states.noise[name]] * (before + 1))
        *later, self.own[name] = family.relax(natural, noise, self.temperatures[before]).split(num)
        return torch.cat([*later, self.own[name], *[drawn] * (len(self.hard.scored) - before - 1)])

    def path(self, name: str, slope: Tensor) -> Tensor:
        """D (dg/dl - dg~/dl), (K, B, F), by the slope D of each number of the site."""
        site = self.hard.guide_sites[name]
        family, z, u = family_of(site, self.states.needed_by), site["value"], self.states.noise[name]
        logits = family.logits(site["fn"]).detach().requires_grad_()
        natural, temperature = family.of(logits), self.temperatures[self._before(name)]
        v = family.noise_given(natural, z, u).detach()
        difference = family.relax(natural, u, temperature) - family.relax_given(natural, z, v, temperature)
        (path,) = torch.autograd.grad(difference, logits, slope, create_graph=True)
        return per_datum(site, self.hard.plate, path)

    def _before(self, name: str) -> int:
        """How many discrete sites the guide draws before this one."""
        latents = [other for other, site in self.hard.guide_sites.items() if is_latent(site)]
        return sum(other in self.hard.scored for other in latents[: latents.index(name)])


@dataclass(frozen=True, kw_only=True)
class Coupled(Composed, ABC):
    """An estimator whose further runs have the noise of the first."""

    needs_discrete = True
    splits_particles = False  # a part's further runs would have other noise

    def drawn_by(self) -> States:
        return States(type(self).__name__)

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        for name in particles.scored:
            check_relaxable(particles.guide_sites[name], type(self).__name__)
            check_unscaled(particles.guide_sites[name], type(self).__name__)
