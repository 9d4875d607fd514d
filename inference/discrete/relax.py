"""RELAX: REBAR with a network added to its control variate, trained as all of it is to lower the variance.

The control variate of a discrete latent's relaxed value is

    C(zeta) = eta f(sigma_t(zeta)) + r(x, sigma_t(zeta)),        f = log w, r a network of tanh units,

with whatever r is an unbiased gradient: :mod:`ppgen.objectives.discrete.control_variates` derives it, for layers (r
reads all latents of a run, and has an output for each layer), categorical units, bounds of several particles and mixed
pairs. r makes up for what is amiss in the relaxed f; it starts at zero, as REBAR. ``hidden=()`` makes it linear.

Grathwohl, Choi, Wu, Roeder, Duvenaud: Backpropagation through the Void: Optimizing Control Variates for Black-box
Gradient Estimation, ICLR 2018, eq. 8 (how it learns) and section 3.3 with appendix B (for discrete latents).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppgen.arguments import Sizes
from ppgen.layers.networks import MLP
from ppgen.objectives.discrete.baselines import features_of
from ppgen.objectives.discrete.control_variates import Control, RelaxedControl
from ppgen.pairs.latents import side_by_side
from ppgen.pairs.tracing import Batch, Particles
from ppgen.registry import register_objective

__all__ = ["RELAX"]


@register_objective(
    "relax",
    summary="score-function gradient with a learned control variate: the relaxed bound and a network",
    reference="Grathwohl et al., Backpropagation through the void: optimizing control variates",
    year=2018,
    link="https://arxiv.org/abs/1711.00123",
    tags=("estimator", "relaxation", "discrete"),
    tiny=lambda: RELAX(num_particles=2, hidden=(4,)),
)
@dataclass(frozen=True, kw_only=True)
class RELAX(RelaxedControl):
    """RELAX for ``bound`` with ``num_particles`` (K) particles; ``hidden``: sizes of the network's tanh layers.

    >>> import ppgen
    >>> pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(4, 2))
    >>> own = RELAX(hidden=()).parameters(pair, (torch.zeros(5, 3),))
    >>> own.network.layers[0].weight.shape  # from x and all latents to a number for each layer
    torch.Size([2, 9])
    """

    hidden: Sizes = (50, 50)

    def control(self, particles: Particles) -> Control:
        width = features_of(particles.batch).shape[1] + side_by_side(particles).shape[-1]
        return _Surrogate(len(particles.scored), self.temperature, self.eta, width, self.hidden)


class _Surrogate(Control):
    """REBAR's control variate and the network r, of (x, latents) to one number for each layer."""

    def __init__(self, num_sites: int, temperature: float, eta: float, width: int, hidden: Sequence[int]) -> None:
        super().__init__(num_sites, temperature, eta)
        self.network = MLP(width, num_sites, hidden, "tanh")
        for parameter in self.network.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, relaxed: Tensor, batch: Batch, latents: Tensor) -> Tensor:
        x = features_of(batch).expand(*latents.shape[:-1], -1)  # (L, K, B, D)
        outputs: Tensor = self.network(torch.cat([x, latents], -1))  # (L, K, B, L)
        return super().forward(relaxed, batch, latents) + outputs.diagonal(dim1=0, dim2=-1).movedim(-1, 0)
