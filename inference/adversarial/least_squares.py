"""Least squares: the critic regresses 1 on data and 0 on draws, and the generator is to be given 1.

    L_c = E_data[(f(x) - 1)^2] / 2 + E_z[f(x')^2] / 2,        L_g = E_z[(f(x') - 1)^2] / 2        (no unit)

The optimal critic is p_data / (p_data + p_g), of which L_g makes E_g[(p_g / (p_data + p_g))^2] / 2. Draws far on the
right side of the decision boundary still have a gradient, towards it. (With targets -1, 1 and 0 for the generator it
would be half the Pearson chi-squared divergence of p_data + p_g from 2 p_g; the paper finds the two alike.)

Least Squares Generative Adversarial Networks, Mao, Li, Xie, Lau, Wang and Smolley, ICCV 2017, eq. 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ppgen.objectives.adversarial import Adversarial
from ppgen.registry import register_objective

__all__ = ["LeastSquares"]


@register_objective(
    "least_squares",
    summary="adversarial: the critic regresses 1 on data and 0 on draws",
    reference="Mao et al., Least squares generative adversarial networks",
    year=2017,
    link="https://arxiv.org/abs/1611.04076",
    tags=("adversarial", "biased"),
    tiny=lambda: LeastSquares(hidden=(4,), unroll=1),
)
@dataclass(frozen=True, kw_only=True)
class LeastSquares(Adversarial):
    """Half mean squared distances to the targets.

    >>> import torch
    >>> LeastSquares().critic_loss(torch.ones(4), torch.zeros(4)), LeastSquares().generator_loss(torch.zeros(4))
    (tensor(0.), tensor(0.5000))
    """

    unit: ClassVar[str] = ""

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        return 0.5 * (fake - 1).square().mean()
