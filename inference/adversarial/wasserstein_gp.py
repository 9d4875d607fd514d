"""The Wasserstein distance by its dual, over critics that are drawn to slope one between data and draws.

    L_c = E_z[f(x')] - E_data[f(x)],        R = w E[(||grad f(u)|| - 1)^2],        L_g = -E_z[f(x')]

    u = e x + (1 - e) x',  e ~ U(0, 1) for each pair of a datum and a draw

An optimal 1-Lipschitz critic has slope one almost everywhere on the lines that optimal transport takes, and -L_c is
then W_1(p_data, p_g), in the units of x. The penalty is soft: between distributions a shift m apart f = s x gives
-L_c - R = s m - w (s - 1)^2, so that the estimate s m exceeds m by the factor 1 + m / (2 w).

Improved Training of Wasserstein GANs, Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville, NeurIPS 2017, eq. 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ppgen.arguments import NonNegative
from ppgen.objectives.adversarial import CriticFunction, Dual, gradient_penalty
from ppgen.objectives.stabilised import between
from ppgen.registry import register_objective

__all__ = ["WassersteinGP"]


@register_objective(
    "wasserstein_gp",
    summary="adversarial: the Wasserstein distance over critics with a penalty on slopes other than one",
    reference="Gulrajani et al., Improved training of Wasserstein GANs",
    year=2017,
    link="https://arxiv.org/abs/1704.00028",
    tags=("adversarial", "biased"),
    tiny=lambda: WassersteinGP(hidden=(4,), critic_steps=2),
)
@dataclass(frozen=True, kw_only=True)
class WassersteinGP(Dual):
    """``weight``: w. With ``one_sided``, slopes below one cost nothing.

    >>> import torch
    >>> x = torch.zeros(4, 2)
    >>> [float(WassersteinGP(weight=10.0).penalty(lambda x: slope * x[:, 0], x, x + 1)) for slope in (1, 2, 3)]
    [0.0, 10.0, 40.0]
    """

    unit: ClassVar[str] = "in the units of x"

    weight: NonNegative = 10.0

    @property
    def bounds_slopes(self) -> bool:
        """Whether a penalty is on the critic's slope: it has a weight."""
        return bool(self.weight) or super().bounds_slopes

    def penalty(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        return self.weight * gradient_penalty(critic, between(real, fake), self.one_sided)
