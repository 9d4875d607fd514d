"""The importance-weighted bound of K particles.

    L_K(x) = E log (1/K) sum_k w_k,        ELBO = L_1 <= L_2 <= ... <= log p(x),

tight as K grows (the gap falls as Var(w) / (2 K p(x)^2)) or when q is the posterior. The gradient is pathwise and
unbiased, sum_k w~_k d log w_k with normalised weights w~; the guide's part of it has a signal-to-noise ratio that
*falls* as K^(-1/2) (Rainforth et al. 2018), which :mod:`ppgen.inference.pathwise.dreg` mends. K = 1 is the ELBO.

Burda, Grosse, Salakhutdinov: Importance Weighted Autoencoders, ICLR 2016, eq. 8 and 14.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.reductions import log_mean_exp
from ppgen.registry import register_objective

__all__ = ["IWELBO"]


@register_objective(
    "iwelbo",
    summary="importance-weighted bound, pathwise gradient",
    reference="Burda, Grosse and Salakhutdinov, Importance weighted autoencoders",
    year=2016,
    link="https://arxiv.org/abs/1509.00519",
    tags=("bound", "pathwise"),
    tiny=lambda: IWELBO(num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class IWELBO(Reduction):
    """The importance-weighted bound of ``num_particles`` (K) particles.

    >>> import torch
    >>> IWELBO(num_particles=2).reduce(torch.tensor([[1.0], [4.0]]).log()).exp()  # the mean of two weights
    tensor([2.5000])
    """

    needs_rsample = True
    per_datum = True

    num_particles: Scheduled[Count] = 5

    def reduce(self, log_w: Tensor) -> Tensor:
        return log_mean_exp(log_w)

    def weights(self, log_w: Tensor) -> Tensor:
        return log_w.softmax(0)

    def path_weights(self, log_w: Tensor) -> Tensor:
        return self.weights(log_w).square()
