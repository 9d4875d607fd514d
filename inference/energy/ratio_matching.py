"""Ratio matching: the odds of each binary feature, given all others, are to be those of the data.

    loss = sum_i (1 - p(v_i | v without i))^2 = sum_i sigmoid(F(v) - F(v^i))^2,        v^i: v with feature i flipped

up to terms that do not hang on the parameters the mean squared distance, over data and features, of
g(p(v) / p(v^i)) from the data's own, g(u) = 1 / (1 + u): log Z cancels in every ratio (Hyvärinen 2007). Consistent;
features that are already certain weigh less than in pseudo-likelihood. ``num_features`` of D features are drawn at each
step where not all are summed, and loss and gradient stay unbiased.

Hyvärinen: Some Extensions of Score Matching, Computational Statistics & Data Analysis 51, 2007, section 3, eq. 17.
Marlin, Swersky, Chen, de Freitas: Inductive Principles for Restricted Boltzmann Machine Learning, AISTATS 2010, eq. 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.energies import Criterion, flip_gains
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.tracing import Program
from ppgen.registry import register_objective

__all__ = ["RatioMatching"]


@register_objective(
    "ratio_matching",
    summary="energy-based, binary data: each feature's odds are to be the data's, without chains",
    reference="Hyvärinen, Some extensions of score matching",
    year=2007,
    link="https://doi.org/10.1016/j.csda.2006.09.003",
    tags=("energy-based",),
    tiny=lambda: RatioMatching(),
)
@dataclass(frozen=True, kw_only=True)
class RatioMatching(Criterion):
    """Ratio matching over all features, or over ``num_features`` drawn at each step. The loss has no unit.

    >>> import ppgen, torch
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2)
    >>> _ = torch.nn.init.zeros_(pair.weight)
    >>> RatioMatching().loss(pair.model, pair.guide, torch.ones(1, 4))  # 4 times (1 / 2)^2
    1.0
    """

    unit: ClassVar[str] = ""
    needs_observation = "binary"
    splits_data = True
    num_features: Count | None = None

    def criterion(self, pair: EnergyPair, v: Tensor, program: Program) -> Tensor:
        gains, share = flip_gains(pair, v, self.num_features)  # (M, B)
        return share * (-gains).sigmoid().square().sum(0)
