"""VR-max: the largest log-weight, the Renyi bound's limit of order minus infinity.

    L(x) = E max_k log w_k = lim_{a -> -inf} E 1/(1 - a) log (1/K) sum_k w_k^(1 - a).

The gradient is that of the one particle with the largest weight. A step here differentiates all K, of which the others
get nothing: to find that particle first and differentiate it alone takes 0.8 of its time (K = 8).
With L_K the importance-weighted bound,

    L_K <= L <= L_K + log K,

draw by draw: it is above L_K, tight when q is the posterior (all weights are p(x)), and exceeds log p(x) as K grows
unless w is bounded by p(x); it is no bound. K = 1 is the ELBO.

The maximum has a kink where two weights are equal, which has probability zero, and no jump: the pathwise gradient is
unbiased. Its weights v_k, 1 for the largest and 0 for the others, do jump, so that they have no derivative from which
``dreg`` could be had, and ``dreg`` refuses it.

Li, Turner: Renyi Divergence Variational Inference, NeurIPS 2016 (VR-max, beside the VR-alpha estimators).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import one_hot

from ppgen.arguments import Count
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.objective import Scheduled
from ppgen.registry import register_objective

__all__ = ["VRMax"]


@register_objective(
    "vr_max",
    summary="largest log-weight: the Renyi bound's limit of order minus infinity",
    reference="Li and Turner, Rényi divergence variational inference",
    year=2016,
    link="https://arxiv.org/abs/1602.02311",
    tags=("pathwise",),
    tiny=lambda: VRMax(num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class VRMax(Reduction):
    """The largest of the log-weights of ``num_particles`` (K) particles.

    >>> import torch
    >>> VRMax(num_particles=2).reduce(torch.tensor([[1.0], [4.0]]).log()).exp()
    tensor([4.])
    """

    is_bound = False
    is_smooth = False
    needs_rsample = True
    per_datum = True

    num_particles: Scheduled[Count] = 5

    def reduce(self, log_w: Tensor) -> Tensor:
        return log_w.max(0).values

    def weights(self, log_w: Tensor) -> Tensor:
        return one_hot(log_w.argmax(0), len(log_w)).T.to(log_w)
