"""DisARM: antithetic pairs of binary latents, with the noise of ARM integrated out.

With b = 1[u > sigmoid(-l)] and b' = 1[1 - u > sigmoid(-l)], for one layer of logits l and f = log w,

    grad_l_i E[f(b)] = E[ (f(b) - f(b')) (b_i - b'_i) sigmoid(|l_i|) / 2 ],

the mean of ARM given the pair: unbiased, with a variance that is at most ARM's. Only units in which the pair differs
have a gradient. A one-hot unit is made of bits by breaking a stick: bit c says whether it is class c or a later one,
with log-odds a_c = log sum_{j > c} e^{l_j} - l_c. Where both draws of a pair come to bit c its gradient is as above,
where one comes to it alone (f(z) - f(z')) (b_c - sigmoid(a_c)) / 2, with a minus for the branch; the noise of the bits
that no draw came to is averaged over. ``disarm_tree`` has the bits of a balanced tree.
:mod:`ppgen.objectives.discrete.antithetic` derives it, also for several layers (one branch for each), bounds of several
particles, and pairs with reparameterized latents besides. A pair costs L + 1 evaluations of log w for L layers, all of
which also serve the model's gradient. Bernoulli and one-hot categorical latents.

Dong, Mnih, Tucker: DisARM: An Antithetic Gradient Estimator for Binary Latent Variables, NeurIPS 2020, eq. 6; the same
estimator: Yin, Ho, Yan, Qian, Zhou: Probabilistic Best Subset Selection via Gradient-Based Optimization, 2020 (U2G);
classes: Dong, Mnih, Tucker: Coupled Gradient Estimators for Discrete Latent Variables, NeurIPS 2021 (DisARM-SB).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.objectives.discrete.antithetic import Antithetic, averaged
from ppgen.registry import register_objective

__all__ = ["DisARM"]


@register_objective(
    "disarm",
    summary="antithetic pairs of binary or one-hot draws, their noise integrated out",
    reference="Dong, Mnih and Tucker, DisARM: An antithetic gradient estimator for binary latent variables",
    year=2020,
    link="https://arxiv.org/abs/2006.10680",
    tags=("estimator", "antithetic", "discrete"),
    tiny=lambda: DisARM(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class DisARM(Antithetic):
    """DisARM for ``bound`` with ``num_particles`` (K) pairs.

    >>> import torch
    >>> mirrored = torch.tensor([1.0, 0.0, 0.0])  # of units at 1, 1 and 0: the last has not changed
    >>> DisARM().slope(torch.tensor(0.9), torch.tensor(0.75), torch.tensor([1.0, 1.0, 0.0]), mirrored)
    tensor([0.0000, 0.3750, 0.0000])
    """

    def slope(self, noise: Tensor, probability: Tensor, unit: Tensor, mirrored: Tensor) -> Tensor:
        return averaged(probability, unit, mirrored)
