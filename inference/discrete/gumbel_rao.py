"""Gumbel-Rao: straight-through Gumbel-Softmax with the noise that the state does not need averaged out.

Straight-through Gumbel has the slope of softmax(zeta / t) by l at the noise G that made z, zeta = l + G, z the class of
its largest entry. log w is taken at z, so G matters beyond z in that slope alone, and its mean given z may stand for
it:

    dz/dl taken to be  (1/S) sum_s J(softmax(zeta_s / t)) / t,        zeta_s = l + G_s drawn given z,             (1)

with J(y) = diag(y) - y y' and S = ``inner_draws``. The derivative is at fixed G_s, as that of straight-through Gumbel,
not along the map that draws G_s given z: that one would have another mean. Given z
(:mod:`ppgen.pairs.discrete_families`)

    zeta_k = -log E_k,   zeta_c = -log(E_c / pi_c + E_k),     k the class of z, E exponential, pi = softmax(l).

**Value**: the bound at states. **Gradient** of the guide: (1)' g + d log w/dl, g the slope of log w's extension at z;
that of the model is its own. **Bias**: that of straight-through Gumbel, at every S, with one layer of latents: both
have the expectation of g given z times (1)'s at S = infinity. **Variance**: Var E[. | z] + E Var[. | z] / S, below
straight-through Gumbel's, which is S = 1, and falling in S; the first term stays. No run of log w is added, only S
Jacobians of a layer.

As t goes to 0, J(y) / t becomes a delta where two entries of zeta tie for the lead, k and c with density pi_k pi_c, of
which half is on z's side: the mean of (1) tends to (1/2) sum_c pi_c (e_k - e_c)(e_k - e_c)', which is the slope of
``reinmax``: that is the Rao-Blackwellised straight-through Gumbel at temperature 0, and exact to second order.

Reparameterized latents keep their pathwise gradient. Bounds of several particles too.

Paulus, Maddison, Krause: Rao-Blackwellizing the Straight-Through Gumbel-Softmax Gradient Estimator, ICLR 2021, eq. 6
(whose mean over Gumbels given z this is), eq. 9 and 10 for the draws, propositions 1 and 2 for bias and variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppgen.arguments import Count, Positive
from ppgen.objectives.discrete.relaxations import AtStates, relaxed_given
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.discrete_families import DiscreteFamily
from ppgen.registry import register_objective

__all__ = ["GumbelRao"]


@register_objective(
    "gumbel_rao",
    summary="straight-through Gumbel-Softmax averaged over the noise given the state; biased",
    reference="Paulus, Maddison and Krause, Rao-Blackwellizing the straight-through Gumbel-Softmax gradient estimator",
    year=2021,
    link="https://arxiv.org/abs/2010.04838",
    tags=("estimator", "relaxation", "discrete", "biased"),
    tiny=lambda: GumbelRao(num_particles=2, inner_draws=2),
)
@dataclass(frozen=True, kw_only=True)
class GumbelRao(AtStates):
    """Gumbel-Rao for ``bound`` with ``num_particles`` (K) particles; its value is the bound's.

    ``inner_draws``: S, the draws of noise given each state.

    >>> GumbelRao(temperature="linear(1.0, 0.5, 1000)", inner_draws=100).at(1000).temperature
    0.5
    """

    splits_particles = False  # its noise is drawn beside that of the states

    temperature: Scheduled[Positive] = 0.5
    inner_draws: Count = 10

    def stand_in(self, family: DiscreteFamily, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        temperature: Any = self.temperature
        relaxed = relaxed_given(family, fn, state, temperature, self.inner_draws)  # (S, ...)
        stand_in: Tensor = family.spread(relaxed, family.logits(fn)).mean(0) / temperature
        return stand_in
