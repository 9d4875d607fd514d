"""DisARM of one-hot units by a balanced tree of decisions.

A unit of C classes is a walk down a tree that joins neighbouring classes, and those again, with log-odds a_n of right
against left at node n, and a bit b_n = 1[u_n > sigmoid(-a_n)]. A pair of draws z, z' by u and 1 - u has,
for one layer and f = log w,

    grad_a_n E[f(z)] = E[ (f(z) - f(z')) c_n ],

    c_n = (b_n - b'_n) sigmoid(|a_n|) / 2     where both walks come by n
        = (b_n - sigmoid(a_n)) / 2            where that of z does alone
        = -(b'_n - sigmoid(a_n)) / 2          where that of z' does alone
        = 0                                   where neither does,

the mean of ARM given (z, z'): unbiased. It is ``disarm`` with walks of log2 C steps in the place of a stick that is
broken up to C - 1 times: at the root, which both walks come by, and where the log-odds of many classes are decided, the
pair is antithetic. For binary latents the two are one. :mod:`ppgen.objectives.discrete.antithetic` derives it, also for
several layers, bounds of several particles and reparameterized latents besides; the tree:
:mod:`ppgen.objectives.discrete.decisions`. Which classes are joined with which is their order.

Dong, Mnih, Tucker: Coupled Gradient Estimators for Discrete Latent Variables, NeurIPS 2021 (DisARM-Tree).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.objectives.discrete.antithetic import Antithetic, averaged
from ppgen.objectives.discrete.decisions import Balanced, Decided
from ppgen.registry import register_objective

__all__ = ["DisARMTree"]


@register_objective(
    "disarm_tree",
    summary="antithetic pairs of one-hot draws by a balanced tree of binary decisions",
    reference="Dong, Mnih and Tucker, Coupled gradient estimators for discrete latent variables",
    year=2021,
    link="https://arxiv.org/abs/2106.08056",
    tags=("estimator", "antithetic", "discrete"),
    tiny=lambda: DisARMTree(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class DisARMTree(Antithetic):
    """DisARM-Tree for ``bound`` with ``num_particles`` (K) pairs.

    >>> import ppgen, torch
    >>> pair = ppgen.models.DiscreteVAE(ppgen.DataSpec("bits", 3, "binary"), 2, classes=4)
    >>> objective = DisARMTree(num_particles=3, bound="iwelbo")
    >>> loss = objective.loss_and_grads(pair.model, pair.guide, torch.ones(5, 3))
    >>> pair.encoder.layers[-1].bias.grad.shape  # of 2 units of 4 classes
    torch.Size([8])
    """

    def drawn_by(self) -> Decided:
        return Decided(type(self).__name__, tree=Balanced())

    def slope(self, noise: Tensor, probability: Tensor, unit: Tensor, mirrored: Tensor) -> Tensor:
        return averaged(probability, unit, mirrored)
