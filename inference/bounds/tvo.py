"""The thermodynamic variational objective: a Riemann sum of the evidence along the path from guide to posterior.

    log p(x) = int_0^1 E_{pi_b}[ log w ] db,        pi_b(z) ~ q(z | x)^(1-b) p(x, z)^b,

whose integrand rises with b, so the left Riemann sum over 0 = b_0 < b_1 < ... < b_P = 1,

    TVO(x) = sum_p (b_{p+1} - b_p) E_{pi_{b_p}}[ log w ],

is a lower bound; P = 1 is the ELBO. Expectations are self-normalised over the same K particles with weights
proportional to w^b. The sum stays a bound at every K: these averages are the slopes at b_p of the convex function
g(b) = log (1/K) sum_k w_k^b, so the left sum is at most g(1) - g(0), the K-particle importance-weighted bound.

The gradient needs no reparameterization,

    d/d E_{pi_b}[f] = E_{pi_b}[ df ] + Cov_{pi_b}( d log pi~_b, f ),

with f = log w and log pi~_b = b log p(x, z) + (1 - b) log q(z | x). Its self-normalised estimate
has a bias of order 1/K.

Masrani, Le, Wood: The Thermodynamic Variational Objective, NeurIPS 2019, eq. 5 and 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Lt
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import Scheduled, with_gradient_of
from ppgen.pairs.tracing import Particles
from ppgen.registry import register_objective

__all__ = ["TVO"]


@register_objective(
    "tvo",
    summary="thermodynamic variational objective, covariance gradient",
    reference="Masrani, Le and Wood, The thermodynamic variational objective",
    year=2019,
    link="https://arxiv.org/abs/1907.00031",
    tags=("bound", "score function"),
    tiny=lambda: TVO(num_particles=4, num_partitions=2),
)
@dataclass(frozen=True, kw_only=True)
class TVO(Bound):
    """The left sum over ``num_partitions`` (P) intervals, with ``num_particles`` (K) particles.

    ``log10_beta_1`` is log10 of b_1, from where b_1 ... b_P = 1 are evenly spaced in the logarithm.

    >>> import ppgen
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.zeros(4, 3)
    >>> pair.set_exact_guide()  # where log w is the evidence all along the path
    >>> loss = TVO().differentiable_loss(pair.model, pair.guide, x)
    >>> torch.allclose(-loss, pair.log_evidence(x).sum())
    True
    """

    unbiased_gradient = False
    splits_particles = True
    min_particles = 2
    per_datum = True

    num_particles: Scheduled[Count] = 10
    num_partitions: Count = 5
    log10_beta_1: Annotated[float, Lt(0)] = -1.09

    def estimate(self, particles: Particles) -> Tensor:
        at_fixed = particles.with_fixed(latents=True)
        log_p, log_q, log_w = at_fixed.log_p, at_fixed.log_q, at_fixed.log_w  # (K, B)
        beta = self._partition(log_w)  # (P + 1, 1, 1)
        weight = (beta[:-1] * log_w.detach()).softmax(1)  # (P, K, B)
        mean = (weight * log_w.detach()).sum(1, keepdim=True)  # (P, 1, B)
        log_pi = beta[:-1] * log_p + (1 - beta[:-1]) * log_q  # (P, K, B)
        covariance = (weight * (log_w.detach() - mean) * log_pi).sum(1)  # (P, B)
        width = beta.diff(dim=0).squeeze(1)  # (P, 1)
        value = (width * mean.squeeze(1)).sum(0)  # (B,)
        return with_gradient_of(value, (width * ((weight * log_w).sum(1) + covariance)).sum(0))

    def _partition(self, like: Tensor) -> Tensor:
        points = torch.logspace(self.log10_beta_1, 0, self.num_partitions, dtype=like.dtype, device=like.device)
        beta = torch.cat([points.new_zeros(1), points]) if self.num_partitions > 1 else points.new_tensor([0.0, 1.0])
        return beta[:, None, None]
