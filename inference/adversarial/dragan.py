"""DRAGAN: the non-saturating or the original game with a critic drawn to slope one around the data.

    L_c = -E_data[log D(x)] - E_z[log(1 - D(x'))],        L_g = -E_z[log D(x')],        D = sigmoid(f)   (nats)

    R = w E[(||grad f(x + e)|| - 1)^2],        e ~ N(0, (spread s)^2 I),  s the standard deviation of the entries of x

Sharp slopes around data are where the game ends in a poor local equilibrium, a few modes; the penalty rounds them off.
Unlike that of ``wasserstein_gp`` it asks nothing of the critic far from data.

On Convergence and Stability of GANs, Kodali, Abernethy, Hays and Kira, 2017, section 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ppgen.arguments import NonNegative
from ppgen.objectives.adversarial import Classifier, CriticFunction, gradient_penalty
from ppgen.registry import register_objective

__all__ = ["DRAGAN"]


@register_objective(
    "dragan",
    summary="adversarial: the non-saturating game, with a penalty on the critic's slopes around data",
    reference="Kodali, Abernethy, Hays and Kira, On convergence and stability of GANs",
    year=2017,
    link="https://arxiv.org/abs/1705.07215",
    tags=("adversarial", "biased"),
    tiny=lambda: DRAGAN(hidden=(4,)),
)
@dataclass(frozen=True, kw_only=True)
class DRAGAN(Classifier):
    """``weight``: w; ``spread``: of the perturbation, over the standard deviation of the data; ``minimax``: the
    generator's loss is that of the original game, L_g = E_z[log(1 - D(x'))].

    >>> x = torch.zeros(4, 2)
    >>> [float(DRAGAN(weight=10.0).penalty(lambda x: slope * x[:, 0], x, x)) for slope in (1, 2, 3)]
    [0.0, 10.0, 40.0]
    """

    weight: NonNegative = 10.0
    spread: NonNegative = 0.5
    minimax: bool = False

    def generator_loss(self, fake: Tensor) -> Tensor:
        return -softplus(fake).mean() if self.minimax else super().generator_loss(fake)

    @property
    def bounds_slopes(self) -> bool:
        """Whether a penalty is on the critic's slope: it has a weight."""
        return bool(self.weight) or super().bounds_slopes

    def penalty(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        around = real + self.spread * real.std() * torch.randn_like(real)
        return self.weight * gradient_penalty(critic, around, self.one_sided)
