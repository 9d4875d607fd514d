"""Discrete latents that take values with a gradient: what the biased, low-noise estimators have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppgen.arguments import Count, Positive
from ppgen.objectives.bounds import BoundName, Estimator
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.discrete_families import DiscreteFamily, check_relaxable, family_of
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Draw, Particles

__all__ = ["Relaxed"]


@dataclass(frozen=True, kw_only=True)
class Relaxed(Estimator, ABC):
    """The pathwise gradient of ``bound`` at latents that take :meth:`value`; biased for the discrete pair.

    log p and log q are extended multilinearly to values between the states (:mod:`ppgen.pairs.discrete_families`).
    Latents with reparameterized samples are drawn, and have their pathwise gradient, as ever. ``temperature`` (> 0): a
    number, or a schedule such as ``exponential(1.0, 0.5, 100000)``.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`value`; 3. register it.

    Raises:
        UsageError: the temperature is not positive; when the pair is run: a latent without a reparameterized sample is
            neither Bernoulli nor OneHotCategorical, there is none, or it stands outside the data plate.
    """

    needs_discrete = True
    splits_particles = True
    unbiased_gradient = False

    num_particles: Scheduled[Count] = 1
    bound: BoundName = "elbo"
    temperature: Scheduled[Positive] = 0.5

    @abstractmethod
    def value(self, family: DiscreteFamily, fn: Any) -> Tensor:
        """What a discrete site takes, of shape ``fn.shape()``, with a gradient by its natural parameters."""

    def drawn_by(self) -> Draw:
        return self._take

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        for name in particles.scored:
            check_relaxable(particles.guide_sites[name], type(self).__name__)

    def _take(self, site: Site) -> Tensor | None:
        fn = site["fn"]
        return None if fn.has_rsample else self.value(family_of(site, type(self).__name__), fn)
