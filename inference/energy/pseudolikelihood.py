"""Pseudo-likelihood: each feature is predicted from all others, and log Z cancels.

    loss = -sum_i log p(v_i | v without i) = sum_i softplus(F(v) - F(v^i)),        v^i: v with feature i flipped

for binary v. Its minimum over all parameters is that of -log p(v) where the data are the model's own (Besag 1975; it
is consistent), without a chain. Where features are many, ``num_features`` of them are drawn at each step and their
sum times D / num_features stands for all: an unbiased estimate of loss and gradient.

Besag: Statistical Analysis of Non-Lattice Data, The Statistician 24, 1975. For Boltzmann machines: Marlin, Swersky,
Chen, de Freitas: Inductive Principles for Restricted Boltzmann Machine Learning, AISTATS 2010, eq. 9.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softplus

from ppgen.arguments import Count
from ppgen.objectives.energies import Criterion, flip_gains
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.tracing import Program
from ppgen.registry import register_objective

__all__ = ["Pseudolikelihood"]


@register_objective(
    "pseudolikelihood",
    summary="energy-based, binary data: each feature predicted from all others, without chains",
    reference="Besag, Statistical analysis of non-lattice data",
    year=1975,
    link="https://doi.org/10.2307/2987782",
    tags=("energy-based",),
    tiny=lambda: Pseudolikelihood(),
)
@dataclass(frozen=True, kw_only=True)
class Pseudolikelihood(Criterion):
    """Minus the log pseudo-likelihood, in nats, of all features, or of ``num_features`` drawn at each step.

    >>> import ppgen, torch
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2)
    >>> _ = torch.nn.init.zeros_(pair.weight)
    >>> round(Pseudolikelihood().loss(pair.model, pair.guide, torch.ones(1, 4)), 4)  # 4 log 2
    2.7726
    """

    needs_observation = "binary"
    splits_data = True
    num_features: Count | None = None

    def criterion(self, pair: EnergyPair, v: Tensor, program: Program) -> Tensor:
        gains, share = flip_gains(pair, v, self.num_features)  # (M, B)
        return share * softplus(-gains).sum(0)
