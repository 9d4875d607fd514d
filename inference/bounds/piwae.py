"""The partially importance-weighted bound (PIWAE): one bound for the model, another for the guide.

    model's gradient: that of L_{MK}, the bound of all M K particles;
    guide's gradient: that of (1/M) sum_m log (1/K) sum_k w_{m,k}, a mean of M bounds of K particles,

so that the model gets the tightest bound while the guide keeps a signal-to-noise ratio of sqrt(M / K). The value is the
model's. Each gradient is unbiased for its own bound; together they are the gradient of no single function, so it
counts as biased. M = 1 is the importance-weighted bound.

Rainforth et al.: Tighter Variational Bounds are Not Necessarily Better, ICML 2018, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Bound, Reduction
from ppgen.objectives.objective import Scheduled, with_gradient_of
from ppgen.pairs.reductions import log_mean_exp
from ppgen.pairs.tracing import Particles
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["PIWAE"]


@register_objective(
    "piwae",
    summary="importance-weighted bound for the model, mean of smaller ones for the guide",
    reference="Rainforth et al., Tighter variational bounds are not necessarily better",
    year=2018,
    link="https://arxiv.org/abs/1802.04537",
    tags=("bound", "pathwise"),
    tiny=lambda: PIWAE(num_groups=2, num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class PIWAE(Bound):
    """``num_groups`` (M) times ``num_particles`` (K) particles; see the module.

    >>> PIWAE(num_groups=2, num_particles=4).for_guide
    MIWAE(num_particles=4, num_groups=2)
    """

    unbiased_gradient = False
    needs_rsample = True
    splits_particles = True
    per_datum = True

    num_particles: Scheduled[Count] = 8
    num_groups: Count = 8

    @property
    def for_guide(self) -> Reduction:
        """The bound whose gradient the guide gets."""
        return OBJECTIVES["miwae"].cls(num_particles=self.num_particles, num_groups=self.num_groups)  # type: ignore[no-any-return]

    @property
    def total_particles(self) -> int:
        return self.for_guide.total_particles

    def estimate(self, particles: Particles) -> Tensor:
        for_model = log_mean_exp(particles.with_fixed(guide=True, latents=True).log_w)  # (B,)
        for_guide = self.for_guide.reduce(particles.with_fixed(model=True).log_w)  # (B,)
        return with_gradient_of(for_model, for_model + for_guide)
