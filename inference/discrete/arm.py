"""ARM: augment, REINFORCE, merge: the gradient of binary latents from a pair of draws by mirrored noise.

With b = 1[u > sigmoid(-l)] and b' = 1[1 - u > sigmoid(-l)], for one layer of logits l and f = log w,

    grad_l E[f(b)] = E[ (f(b) - f(b')) (u - 1/2) ],

unbiased, without a baseline or anything that is learned: a pair of draws is its own control variate.
:mod:`ppgen.objectives.discrete.antithetic` derives it, also for several layers (one branch for each), bounds of several
particles, and pairs with reparameterized latents besides. A pair costs L + 1 evaluations of log w for L layers.
``disarm`` is its mean over what u adds to (b, b'), and never has more variance. Binary latents only.

Yin, Zhou: ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks, ICLR 2019, theorem 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.objectives.discrete.antithetic import Antithetic
from ppgen.registry import register_objective

__all__ = ["ARM"]


@register_objective(
    "arm",
    summary="binary latents: pairs of draws by mirrored noise, weighted by the noise",
    reference="Yin and Zhou, ARM: Augment-REINFORCE-merge gradient for stochastic binary networks",
    year=2019,
    link="https://arxiv.org/abs/1807.11143",
    tags=("estimator", "antithetic", "discrete"),
    tiny=lambda: ARM(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class ARM(Antithetic):
    """ARM for ``bound`` with ``num_particles`` (K) pairs.

    >>> import ppgen, torch
    >>> pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,))
    >>> _ = [torch.nn.init.zeros_(p) for p in pair.parameters()]  # three fair bits, and the guide is the posterior
    >>> loss = ARM().loss_and_grads(pair.model, pair.guide, torch.ones(1, 3))
    >>> pair.encoders[0].layers[-1].bias.grad  # both draws of a pair weigh the same
    tensor([0., 0.])
    """

    needs_binary = True

    def slope(self, noise: Tensor, probability: Tensor, unit: Tensor, mirrored: Tensor) -> Tensor:
        return noise - 0.5
