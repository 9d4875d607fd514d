"""The combination bound of ELBO and importance-weighted bound (CIWAE).

    L(x) = b ELBO(x) + (1 - b) L_K(x),        0 <= b <= 1,

a convex combination of two bounds on the same K particles, so a bound between them: b = 0 is the importance-weighted
bound, b = 1 the ELBO. The ELBO's part keeps the guide's gradient from drowning in noise as K grows. Pathwise, unbiased.

Rainforth et al.: Tighter Variational Bounds are Not Necessarily Better, ICML 2018, eq. 15.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.reductions import log_mean_exp, weighted_sum
from ppgen.registry import register_objective

__all__ = ["CIWAE"]


@register_objective(
    "ciwae",
    summary="convex combination of ELBO and importance-weighted bound",
    reference="Rainforth et al., Tighter variational bounds are not necessarily better",
    year=2018,
    link="https://arxiv.org/abs/1802.04537",
    tags=("bound", "pathwise"),
    tiny=lambda: CIWAE(num_particles=3, beta=0.5),
)
@dataclass(frozen=True, kw_only=True)
class CIWAE(Reduction):
    """``beta`` ELBO + (1 - ``beta``) IWELBO, on ``num_particles`` (K) shared particles.

    >>> log_w = torch.tensor([[0.0], [2.0]])  # whose mean is 1
    >>> [round(float(CIWAE(num_particles=2, beta=beta).reduce(log_w)), 4) for beta in (1.0, 0.5, 0.0)]
    [1.0, 1.2169, 1.4338]
    """

    needs_rsample = True
    per_datum = True

    num_particles: Scheduled[Count] = 5
    beta: Scheduled[Annotated[float, Ge(0), Le(1)]] = 0.05

    def reduce(self, log_w: Tensor) -> Tensor:
        # beta = 0 leaves a weight of 0 out, whose logarithm is -inf
        share = torch.ones_like(log_w) * (self.beta / len(log_w))  # type: ignore[operator]
        return weighted_sum(share, log_w) + (1 - self.beta) * log_mean_exp(log_w)  # type: ignore[operator]

    def weights(self, log_w: Tensor) -> Tensor:
        return self.beta / len(log_w) + (1 - self.beta) * log_w.softmax(0)  # type: ignore[operator]

    def path_weights(self, log_w: Tensor) -> Tensor:
        return self.beta / len(log_w) + (1 - self.beta) * log_w.softmax(0).square()  # type: ignore[operator]
