"""The chi upper bound (CUBO): the guide lowers what lies above the evidence, the model raises what lies below it.

    CUBO_n(x) = (1/n) log E_q[ w^n ] >= log p(x),        n > 1,

whose distance from the evidence is a chi-divergence, n CUBO_n = n log p(x) + log(1 + D_chi^n(p(z | x) || q)): at its
least when q is the posterior, and without bound where q has lighter tails, so that the guide covers all of the
posterior's mass. The value is of K particles, (1/n) log (1/K) sum_k w_k^n. By Jensen it errs *downwards*: it is above
log p(x) as K grows, and below CUBO_n, of which it is no upper bound at a finite K; at K = 1 it is the ELBO.

The guide descends CUBO_n. With v_k proportional to w_k^n and normalised, and ``dlog w_k`` along the reparameterized
draw with all parameters held fixed,

    dCUBO_n/dphi = -((n - 1)/n) E_q[w^n dlog q/dphi] / E_q[w^n] = -(n - 1) E_q[w^n dlog w] / E_q[w^n]
                 ~ -(n - 1) sum_k v_k dlog w_k,

the paper's gradient, its score written as a path (the doubly reparameterized identity), with a bias of order 1/K by
the normalisation. It is not the gradient of the K-particle value, which would take good particles away from where the
weights are large. Every draw of it is zero when q is the posterior. An upper bound does not hold the model to
the data: the model ascends the importance-weighted bound of the same particles, sum_k w~_k dlog p(x, z_k)/dtheta.

The loss is minus the value, as of all objectives: what the guide does raises it.

Dieng, Tran, Ranganath, Paisley, Blei: Variational Inference via chi Upper Bound Minimization, NeurIPS 2017
(CUBO_n, its score gradient and the weights over the largest); Tucker et al., ICLR 2019, eq. 8, for the path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import Scheduled, with_gradient_of
from ppgen.pairs.reductions import log_mean_exp, weighted_sum
from ppgen.pairs.tracing import Particles
from ppgen.registry import register_objective

__all__ = ["CUBO"]


@register_objective(
    "cubo",
    summary="chi upper bound, which the guide lowers; importance-weighted bound for the model",
    reference="Dieng, Tran, Ranganath, Paisley and Blei, Variational inference via χ upper bound minimization",
    year=2017,
    link="https://arxiv.org/abs/1611.00328",
    tags=("pathwise", "biased"),
    tiny=lambda: CUBO(num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class CUBO(Bound):
    """The chi upper bound of ``order`` (n > 1) with ``num_particles`` (K >= 2) particles.

    >>> import ppgen, torch
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.zeros(4, 3)
    >>> pair.set_exact_guide()  # where upper and lower bounds meet
    >>> loss = CUBO().differentiable_loss(pair.model, pair.guide, x)
    >>> torch.allclose(-loss, pair.log_evidence(x).sum())
    True
    """

    is_bound = False
    unbiased_gradient = False
    needs_rsample = True
    per_datum = True
    splits_particles = True
    min_particles = 2

    num_particles: Scheduled[Count] = 10
    order: Annotated[float, Gt(1)] = 2.0

    def estimate(self, particles: Particles) -> Tensor:
        """The upper bound of each datum, (B,), in nats; the surrogate's ascent lowers it by the guide."""
        n = self.order
        along_path = particles.with_fixed(model=True, guide=True).log_w  # (K, B)
        log_w = along_path.detach()
        for_model = weighted_sum(log_w.softmax(0), particles.with_fixed(latents=True).log_p)
        for_guide = (n - 1) * weighted_sum((n * log_w).softmax(0), along_path)
        return with_gradient_of(log_mean_exp(n * log_w) / n, for_model + for_guide)
