"""A bound that any pair can be trained with, so that a check of the pair is no check of an estimator's demands."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import with_gradient_of
from ppgen.pairs.tracing import Particles

__all__ = ["AnyBound"]


@dataclass(frozen=True, kw_only=True)
class AnyBound(Bound):
    """The ELBO: pathwise gradient where the guide has one, score function with leave-one-out baseline elsewhere.

    Unbiased for latents inside the data plate; a global latent without a pathwise gradient is scored by its own
    part alone.
    """

    min_particles = 2
    needs_density = False

    num_particles: int = 8

    def estimate(self, particles: Particles) -> Tensor:
        log_w = particles.log_w  # (K, B)
        signal = log_w.detach() - log_w.detach().mean(0)  # (K, B)
        signal = signal * len(log_w) / (len(log_w) - 1)  # log w minus the mean of the others
        surrogate = log_w + signal * particles.log_q_of(particles.scored)
        return with_gradient_of(log_w.mean(0), surrogate.mean(0))
