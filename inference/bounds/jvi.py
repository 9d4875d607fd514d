"""Jackknife variational inference: the importance-weighted bound less the first terms of its bias.

The bound of K particles misses the evidence by a series in 1/K, E L_K = log p(x) + a_1 / K + a_2 / K^2 + ..., with
a_1 = -Var(w) / (2 p(x)^2). The generalised jackknife of order m takes bounds of fewer of the same particles, weighted
such that the first m terms cancel,

    J_{K,m} = sum_{j=0}^m c(K, m, j) L^(K-j),        c(K, m, j) = (-1)^j (K - j)^m / ((m - j)! j!),

where L^(K-j) is the mean of log (1/(K-j)) sum_{k in S} w_k over all sets S of K - j particles. So sum_j c = 1,
sum_j c / (K - j)^i = 0 for i = 1 ... m, and

    E J_{K,m} = log p(x) + O(K^-(m+1)):        order 0 is L_K, order 1 is K L_K - (K - 1) L^(K-1).

The terms that are left may have either sign, so it is no bound. It is tight when q is the posterior. Its variance is
that of L_K to the first order, and more at small K, where the c are large against what they cancel. The gradient is
pathwise and unbiased, for J itself; the cost beside the particles is one logarithm for each set, K^m / m! of them.

Nowozin: Debiasing Evidence Approximations: On Importance-weighted Autoencoders and Jackknife Variational Inference,
ICLR 2018, section 3 (the estimator, with Sharot's coefficients of 1976, and its bias).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.objective import Scheduled, capability
from ppgen.pairs.reductions import log_mean_exp
from ppgen.registry import register_objective

__all__ = ["JVI"]


@register_objective(
    "jvi",
    summary="importance-weighted bound less the first terms of its bias, by the jackknife",
    reference="Nowozin, Debiasing evidence approximations",
    year=2018,
    link="https://openreview.net/forum?id=HyZoi-WRb",
    tags=("pathwise",),
    tiny=lambda: JVI(num_particles=4),
)
@dataclass(frozen=True, kw_only=True)
class JVI(Reduction):
    """The jackknife of ``order`` (m, 1 or 2) with ``num_particles`` (K > m) particles.

    Raises:
        UsageError: there are no more particles than the order.

    >>> weights = torch.tensor([[1.0], [3.0]])  # 2 log 2 - (log 1 + log 3) / 2
    >>> JVI(num_particles=2).reduce(weights.log())
    tensor([0.8370])
    """

    is_bound = False
    needs_rsample = True
    per_datum = True

    num_particles: Scheduled[Count] = 8
    order: Literal[1, 2] = 1

    @capability
    def min_particles(self) -> int:
        """One more than are left out."""
        return self.order + 1

    def reduce(self, log_w: Tensor) -> Tensor:
        m, num = self.order, len(log_w)
        terms = [_coefficient(num, m, j) * _mean_without(log_w, j) for j in range(m + 1)]
        return torch.stack(terms).sum(0)


def _coefficient(num: int, m: int, j: int) -> float:
    """c(K, m, j)."""
    return float((-1) ** j * (num - j) ** m / (math.factorial(m - j) * math.factorial(j)))


def _mean_without(log_w: Tensor, j: int) -> Tensor:
    """The mean of log-mean-exps over all sets that leave ``j`` particles out, (K, B) -> (B,)."""
    if j == 0:
        return log_mean_exp(log_w)
    num, device = len(log_w), log_w.device
    out = torch.arange(num, device=device)[:, None] if j == 1 else torch.triu_indices(num, num, 1, device=device).T
    kept = torch.ones(len(out), num, dtype=torch.bool, device=device).scatter(1, out, False)
    left = log_w.where(kept[..., None], -torch.inf)  # (sets, K, B)
    return left.logsumexp(1).mean(0) - math.log(num - j)
