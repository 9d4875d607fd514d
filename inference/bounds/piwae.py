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
from typing import ClassVar

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import Scheduled, with_gradient_of
from ppgen.pairs.reductions import log_mean_exp
from ppgen.pairs.tracing import Particles
from ppgen.registry import register_objective

__all__ = ["PIWAE"]


@register_objective(
    "piwae",
    summary="importance-weighted bound for the model, mean of smaller ones for the guide",
    reference="Rainforth et al., Tighter variational bounds are not necessarily better",
    year=2018,
    tags=("bound", "pathwise"),
    tiny=lambda: PIWAE(num_groups=2, num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class PIWAE(Bound):
    """``num_groups`` (M) times ``num_particles`` (K) particles; see the module."""

    unbiased_gradient: ClassVar[bool] = False
    needs_rsample: ClassVar[bool] = True
    per_datum: ClassVar[bool] = True

    num_particles: Scheduled[Count] = 8
    num_groups: Count = 8

    @property
    def total_particles(self) -> int:
        return self.num_groups * self.num_particles  # type: ignore[operator]  # schedules are numbers by now

    def estimate(self, particles: Particles) -> Tensor:
        for_model = log_mean_exp(particles.with_fixed(guide=True, latents=True).log_w)  # (B,)
        grouped = particles.with_fixed(model=True).log_w.unflatten(0, (-1, self.num_groups))  # (K, M, B)
        return with_gradient_of(for_model, for_model + log_mean_exp(grouped).mean(0))
