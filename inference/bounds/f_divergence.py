"""The evidence less an f-divergence of one's choice: the ELBO with another divergence in the place of KL(q || p).

    L_f(x) = log p(x) - D_f( p(z | x) || q(z | x) ),        D_f = E_q[ f(r) ],    r = p(z | x) / q(z | x) = w / p(x),

for a convex f with f(1) = 0, so that D_f >= 0 is zero when q is the posterior. Neither p(x) nor r is known; both are
taken from the same K particles, r_k = K w~_k by self-normalised weights,

    L_{f,K}(x) = log (1/K) sum_k w_k - (1/K) sum_k f(K w~_k).

Since the r_k have mean 1, the second term is at least f(1) = 0, draw by draw, so that this is at most the
importance-weighted bound: a lower bound at every K, which tends to L_f as K grows; K = 1 is the ELBO.

    f                    f(r)                                             D_f
    reverse_kl           -log r                                           KL(q || p): L_{f,K} is the ELBO, exactly
    forward_kl           r log r                                          KL(p || q), in nats
    chi2                 (r - 1)^2                                        E_q[(p/q - 1)^2]; here K / ESS - 1
    hellinger            (sqrt(r) - 1)^2                                  2 - 2 E_q[sqrt(p/q)]
    jensen_shannon       (r log r - (1 + r) log((1 + r) / 2)) / 2         in nats, at most log 2

It is a function of log-weights, and its pathwise gradient is unbiased for the value at K particles; the distance of
that from L_f is of order 1/K. Model and guide ascend the same function: as with the ELBO, the model is drawn to where
the divergence is small. ``chi2`` may be as large as K - 1, and then tells the model more about the guide than about
the data; ``hellinger`` and ``jensen_shannon`` are bounded (by 2 and log 2), and weak where q is far from p(z | x).

Wan, Li and Lu bound f of the evidence itself, E_q[f(w)] >= f(p(x)). Where such a bound is one of log p(x), f is -log or
a power: the ELBO, the Renyi bound (``renyi``) and ``cubo``. Where it is none, the weights are normalised, as here.

Wan, Li, Lu: f-Divergence Variational Inference, NeurIPS 2020; Csiszar: Information-type measures of
difference of probability distributions, 1967, for D_f.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.reductions import log_mean_exp
from ppgen.registry import register_objective

__all__ = ["FDivergence"]


def _forward_kl(log_r: Tensor) -> Tensor:
    return log_r.exp() * log_r.where(log_r > -torch.inf, 0.0)  # r log r is 0 at r = 0


def _jensen_shannon(log_r: Tensor) -> Tensor:
    mixed = torch.logaddexp(log_r, torch.zeros_like(log_r)) - math.log(2)  # log((1 + r) / 2)
    return (_forward_kl(log_r) - (1 + log_r.exp()) * mixed) / 2


_F: Mapping[str, Callable[[Tensor], Tensor]] = {
    "reverse_kl": lambda log_r: -log_r,
    "forward_kl": _forward_kl,
    "chi2": lambda log_r: torch.expm1(log_r).square(),
    "hellinger": lambda log_r: torch.expm1(log_r / 2).square(),
    "jensen_shannon": _jensen_shannon,
}
"""f of the table, as a function of log r."""


@register_objective(
    "f_divergence",
    summary="evidence less an f-divergence of one's choice between posterior and guide",
    reference="Wan, Li and Lu, f-Divergence variational inference",
    year=2020,
    link="https://arxiv.org/abs/2009.13093",
    tags=("bound", "pathwise"),
    tiny=lambda: FDivergence(num_particles=3, f="hellinger"),
)
@dataclass(frozen=True, kw_only=True)
class FDivergence(Reduction):
    """The evidence less the divergence ``f``, with ``num_particles`` (K) particles.

    >>> log_w = torch.tensor([[1.0], [3.0]]).log()  # r is 1/2 and 3/2
    >>> FDivergence(num_particles=2, f="chi2").reduce(log_w)  # log 2 - 1/4
    tensor([0.4431])
    """

    needs_rsample = True
    per_datum = True

    num_particles: Scheduled[Count] = 10
    f: Literal["forward_kl", "reverse_kl", "chi2", "hellinger", "jensen_shannon"] = "forward_kl"

    def reduce(self, log_w: Tensor) -> Tensor:
        evidence = log_mean_exp(log_w)
        return evidence - _F[self.f](log_w - evidence).mean(0)
