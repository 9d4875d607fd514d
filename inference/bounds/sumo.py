"""SUMO: log p(x) itself without bias, an infinite series of importance-weighted bounds cut off at random.

With L_j = log (1/j) sum_{k <= j} w_k of the first j of the same particles, whose expectation rises to log p(x),

    log p(x) = E L_m + sum_{j >= 1} E[ L_{m+j} - L_{m+j-1} ],

and the series ends after T terms, each divided by the chance of being reached ("Russian roulette"),

    SUMO = L_m + sum_{j=1}^{T} (L_{m+j} - L_{m+j-1}) / P(T >= j),        E SUMO = log p(x),

    P(T >= j) = 1/j for j <= a,        (1/a) 0.9^(j - a) for j > a.

A step has m + T particles, m + 5.1 in the mean for a = 80, and one T for all data of a batch.

The model's gradient is that of SUMO at the drawn particles, unbiased for d log p(x)/dtheta: sum_k v_k d log p(x, z_k),
v_k = d SUMO / d log w_k, which sum to 1 and may be negative. E SUMO does not depend on the guide, whose gradient of it
would be noise around zero. The paper lowers the variance by it; here the guide ascends the importance-weighted bound of
the m + T particles, by its doubly reparameterized gradient, which is tight where SUMO has no variance. So the two are
the gradients of no one function, and together they count as biased.

The variance may be infinite. The terms have a second moment of order 1/j^2, and their share of the variance is
sum_j 1 / (j^2 P(T >= j)): logarithmic in j up to a, and beyond it without bound, since 0.9^j falls faster than any
power. No P has both a finite cost and a finite variance: P = j^-s has the one for s > 1, the other for s < 1. So
an average of such values is not to be trusted by its standard error; clip gradients in training. No bound of log p(x),
whose value may be above it: it estimates it.

The number of particles depends on T, so steps are not compiled.

Luo, Beatson, Norouzi, Zhu, Duvenaud, Adams, Chen: SUMO: Unbiased Estimation of Log Marginal Probability for Latent
Variable Models, ICLR 2020 (the estimator, and P with a = 80).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import with_gradient_of
from ppgen.pairs.reductions import weighted_sum
from ppgen.pairs.tracing import Batch, Draw, Particles, Program, run_particles
from ppgen.registry import register_objective

__all__ = ["SUMO"]

_DECAY = 0.9


@register_objective(
    "sumo",
    summary="log p(x) without bias: a series of importance-weighted bounds cut off at random",
    reference="Luo et al., SUMO: Unbiased estimation of log marginal probability for latent variable models",
    year=2020,
    link="https://openreview.net/forum?id=SylkYeHtwr",
    tags=("pathwise", "biased"),
    tiny=lambda: SUMO(num_particles=8),
)
@dataclass(frozen=True, kw_only=True)
class SUMO(Bound):
    """Russian roulette from the bound of ``num_particles`` (m) particles on; beyond ``plateau`` (a) T is geometric.

    >>> SUMO().survival(torch.tensor([1.0, 2.0, 80.0]))
    tensor([1.0000, 0.5000, 0.0125])
    """

    is_bound = False
    unbiased_gradient = False
    needs_rsample = True
    per_datum = True
    splits_data = False  # all data of a batch have one T
    why_eager = "each step of SUMO has another number of particles"

    num_particles: Count = 2
    plateau: Count = 80

    def draw(self, program: Program, batch: Batch, draw: Draw | None = None) -> Particles:
        return run_particles(program, batch, self.num_particles + self.terms(), draw=draw)

    def terms(self) -> int:
        """T, drawn by the inverse of its survival function."""
        u = 1 - float(torch.rand((), dtype=torch.float64))  # in (0, 1]
        if u > 1 / self.plateau:
            return int(1 / u)
        return self.plateau + int(math.log(u * self.plateau) / math.log(_DECAY))

    def survival(self, terms: Tensor) -> Tensor:
        """P(T >= j) of j >= 1, of its shape."""
        start = terms.clamp(max=self.plateau)
        return _DECAY ** (terms - start) / start

    def roulette(self, log_w: Tensor) -> Tensor:
        """SUMO of the m + T particles there are, (m + T, B) -> (B,), in nats."""
        sizes = torch.arange(1, len(log_w) + 1, dtype=log_w.dtype, device=log_w.device)[:, None]
        bounds = (log_w.logcumsumexp(0) - sizes.log())[self.num_particles - 1 :]  # L_m, ..., L_{m+T}
        survival = self.survival(sizes[: len(bounds) - 1])  # (T, 1)
        return bounds[0] + (bounds.diff(dim=0) / survival).sum(0)

    def estimate(self, particles: Particles) -> Tensor:
        for_model = self.roulette(particles.with_fixed(guide=True, latents=True).log_w)  # (B,)
        along_path = particles.with_fixed(model=True, guide=True).log_w  # (K, B)
        for_guide = weighted_sum(along_path.detach().softmax(0).square(), along_path)
        return with_gradient_of(for_model, for_model + for_guide)
