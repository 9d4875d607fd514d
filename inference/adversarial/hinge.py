"""The hinge: the critic is to be above 1 on data and below -1 on draws, and is not asked for more.

    L_c = E_data[max(0, 1 - f(x))] + E_z[max(0, 1 + f(x'))],        L_g = -E_z[f(x')]        (no unit)

The optimal critic is sign(p_data - p_g), of which L_c makes 2 - 2 TV(p_data, p_g), with the total variation TV, the
integral of |p_data - p_g| / 2, and L_g makes E_g[sign(p_g - p_data)]. Samples beyond their margin have no gradient in
the critic: it is a support vector machine of its last layer's features.

Geometric GAN, Lim and Ye, 2017, eq. 10-11; Spectral Normalization for Generative Adversarial Networks, Miyato, Kataoka,
Koyama and Yoshida, ICLR 2018, eq. 16-17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import relu

from ppgen.objectives.adversarial import Adversarial
from ppgen.registry import register_objective

__all__ = ["Hinge"]


@register_objective(
    "hinge",
    summary="adversarial: margins of one around zero, total variation at the optimal critic",
    reference="Lim and Ye, Geometric GAN",
    year=2017,
    link="https://arxiv.org/abs/1705.02894",
    tags=("adversarial", "biased"),
    tiny=lambda: Hinge(hidden=(4,)),
)
@dataclass(frozen=True, kw_only=True)
class Hinge(Adversarial):
    """The critic's loss is how far, in the mean, outputs are from their side of the margin.

    >>> import torch
    >>> Hinge().critic_loss(torch.tensor([3.0, 0.0]), torch.tensor([-1.0])), Hinge().generator_loss(torch.ones(4))
    (tensor(0.5000), tensor(-1.))
    """

    unit: ClassVar[str] = ""

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return relu(1 - real).mean() + relu(1 + fake).mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        return -fake.mean()
