"""The multiply importance-weighted bound (MIWAE): a mean of M bounds of K particles each.

    L_{M,K}(x) = E (1/M) sum_m log (1/K) sum_k w_{m,k},

whose expectation is that of the K-particle bound for any M; M lowers the variance and keeps the signal-to-noise ratio
of the guide's gradient at sqrt(M / K). M = 1 is the importance-weighted bound, K = 1 the ELBO. Pathwise, unbiased.

Rainforth et al.: Tighter Variational Bounds are Not Necessarily Better, ICML 2018, eq. 14.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.reductions import log_mean_exp
from ppgen.registry import register_objective

__all__ = ["MIWAE"]


@register_objective(
    "miwae",
    summary="mean of several importance-weighted bounds",
    reference="Rainforth et al., Tighter variational bounds are not necessarily better",
    year=2018,
    link="https://arxiv.org/abs/1802.04537",
    tags=("bound", "pathwise"),
    tiny=lambda: MIWAE(num_groups=2, num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class MIWAE(Reduction):
    """A mean of ``num_groups`` (M) importance-weighted bounds of ``num_particles`` (K) particles each.

    >>> import torch
    >>> weights = torch.tensor([[1.0], [2.0], [5.0], [6.0]])  # the groups are 1, 5 and 2, 6
    >>> MIWAE(num_groups=2, num_particles=2).reduce(weights.log())  # (log 3 + log 4) / 2
    tensor([1.2425])
    """

    needs_rsample = True
    per_datum = True

    num_particles: Scheduled[Count] = 8
    num_groups: Count = 8

    @property
    def total_particles(self) -> int:
        return self.num_groups * self.num_particles  # type: ignore[operator]  # schedules are numbers by now

    def reduce(self, log_w: Tensor) -> Tensor:
        return log_mean_exp(self._grouped(log_w)).mean(0)

    def weights(self, log_w: Tensor) -> Tensor:
        return (self._grouped(log_w).softmax(0) / self.num_groups).reshape(log_w.shape)

    def path_weights(self, log_w: Tensor) -> Tensor:
        return (self._grouped(log_w).softmax(0).square() / self.num_groups).reshape(log_w.shape)

    def _grouped(self, log_w: Tensor) -> Tensor:
        return log_w.reshape(-1, self.num_groups, log_w.shape[1])  # (K, M, B)
