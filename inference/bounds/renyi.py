"""The variational Renyi bound.

    L_a(x) = E 1/(1 - a) log (1/K) sum_k w_k^(1 - a),        a != 1.

As a function of a it falls: a = 0 is the importance-weighted bound, a -> 1 the ELBO, and for a > 0 it is below log p(x)
at every K. For a < 0 it exceeds log p(x) as K grows and is no lower bound. The gradient is pathwise and unbiased
for the K-particle value, with weights w~_k proportional to w_k^(1 - a).

Li, Turner: Renyi Divergence Variational Inference, NeurIPS 2016, eq. 6 and 9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.errors import UsageError
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.objective import Scheduled, capability
from ppgen.pairs.reductions import log_mean_exp
from ppgen.registry import register_objective

__all__ = ["Renyi"]


@register_objective(
    "renyi",
    summary="variational Renyi bound of order alpha",
    reference="Li and Turner, Rényi divergence variational inference",
    year=2016,
    link="https://arxiv.org/abs/1602.02311",
    tags=("bound", "pathwise"),
    tiny=lambda: Renyi(num_particles=3, alpha=0.5),
)
@dataclass(frozen=True, kw_only=True)
class Renyi(Reduction):
    """The Renyi bound of order ``alpha`` with ``num_particles`` (K) particles.

    A schedule of alpha may pass through 1, where it is the ELBO.

    >>> Renyi(num_particles=2, alpha=0.5).reduce(torch.tensor([[1.0], [4.0]]).log()).exp()  # ((1 + 2) / 2)^2
    tensor([2.2500])
    """

    needs_rsample = True
    per_datum = True

    num_particles: Scheduled[Count] = 5
    alpha: Scheduled[float] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha == 1.0:
            raise UsageError("alpha must differ from 1, got 1.0: use ELBO() for alpha = 1.")

    @capability
    def is_bound(self) -> bool:
        """Whether the value is below log p(x): for alpha >= 0."""
        return not callable(self.alpha) and self.alpha >= 0

    def reduce(self, log_w: Tensor) -> Tensor:
        """Of a schedule's alpha so near to 1 that rounding would tell more than 1 - alpha, the limit."""
        order = log_w.new_ones(()) - self.alpha  # type: ignore[operator]  # schedules are numbers by now
        at_limit = order.abs() < math.sqrt(torch.finfo(log_w.dtype).eps)
        order = order.where(~at_limit, 1.0)
        return log_w.mean(0).where(at_limit, log_mean_exp(order * log_w) / order)

    def weights(self, log_w: Tensor) -> Tensor:
        return ((1 - self.alpha) * log_w).softmax(0)  # type: ignore[operator]

    def path_weights(self, log_w: Tensor) -> Tensor:
        v = self.weights(log_w)
        return self.alpha * v + (1 - self.alpha) * v.square()  # type: ignore[operator]
