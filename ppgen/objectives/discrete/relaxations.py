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

__all__ = ["AtStates", "Relaxed", "heun"]


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


@dataclass(frozen=True, kw_only=True)
class AtStates(Relaxed, ABC):
    """A :class:`Relaxed` whose latents take states: the gradient alone is that of a smooth stand-in.

    With g the slope of log w's extension at a state z, and the stand-in's slope R(z) by the natural parameters l (C x C
    for a one-hot unit), the gradient by l is

        R(z)' g  +  d log w/dl at fixed z,        right if E[R(z)' g] = grad E[f], for f = log w as a function of z.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`stand_in`; 3. register it.
    """

    temperature: Scheduled[Positive] = 1.0

    @abstractmethod
    def stand_in(self, family: DiscreteFamily, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        """What has the gradient that the state takes; its value is not read.

        Args:
            family: of the site.
            fn: its distribution, whose natural parameters have a gradient.
            u: the noise that the state was made of.
            state: without a gradient.
        """

    def value(self, family: DiscreteFamily, fn: Any) -> Tensor:
        u = family.uniforms(fn)
        state = family.state(fn, u).detach()
        smooth = self.stand_in(family, fn, u, state)
        return state + (smooth - smooth.detach())  # the state itself, without rounding


def heun(family: DiscreteFamily, fn: Any, point: Tensor, mean: Tensor | None = None) -> Tensor:
    """A number whose gradient by l is R = (J(pi) + (z - pi)(z - pi)') / 2, of the shape of ``point``: that of ReinMax.

    J(m) = diag(m) - m m' is the covariance of a unit of mean m, pi = E[z]. Between the states, at a ``point`` y, it is
    R's expectation over a state drawn with probabilities y, linear in y, and written as ReinMax is,

        2 J((pi + y) / 2) - J(pi) / 2 - J(y) / 2,        in which J(y) = 0 where y is a state.

    ``mean``: what stands in the place of pi in the first term, E[z] at another temperature.
    """
    logits, pi, point = family.logits(fn), family.mean(fn).detach(), point.detach()
    middle = ((pi if mean is None else mean.detach()) + point) / 2
    return 2 * family.spread(middle, logits) - (family.spread(pi, logits) + family.spread(point, logits)) / 2


def relaxed_given(family: DiscreteFamily, fn: Any, state: Tensor, temperature: Tensor | float, num: int) -> Tensor:
    """``num`` relaxed values that harden to ``state``, by noise drawn given it: (num, ...), without a gradient."""
    copies = family.of(family.logits(fn).detach().expand(num, *fn.shape()))
    return family.relax_given(copies, state, family.uniforms(copies), temperature)
