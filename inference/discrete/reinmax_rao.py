"""ReinMax averaged over conditional Gumbel draws: a state's slope is the mean of those of the states near to it.

ReinMax's slope at a state z is R(z) = (J(pi) + (z - pi)(z - pi)') / 2, with J(m) = diag(m) - m m' and pi = softmax(l)
(:mod:`ppgen.inference.discrete.reinmax`). Given z, the Gumbels G that made it still say how nearly another state was
drawn: y = softmax((l + G) / t) are probabilities of states d, whose largest is z's. In the place of R(z) stands

    E[R(d) | z] = 2 J((pi + y') / 2) - J(pi) / 2 - J(y') / 2,        y' = (1/S) sum_s softmax((l + G_s) / t) given z,

R's multilinear extension, S = ``inner_draws``: d is summed over exactly, as E[(d - pi)(d - pi)' | y] = J(y) +
(y - pi)(y - pi)', in which J(y) keeps what a relaxed midpoint alone would lose.

**Value**: the bound at states. **Gradient** of the guide: that slope' g + d log w/dl, g the slope of log w's extension
at z; that of the model is its own. **Bias**: as t goes to 0, y becomes z, and all this ReinMax, exact to second order.
At t > 0 the slope stays exact to first order but for E[y] - pi: it is without bias where log w is linear in a unit of
even probabilities. g(z) and R(d) are of two states, which takes part of the second order away. **Variance**: ReinMax's
comes from (z - pi)(z - pi)', large at improbable states; its mean over d is nearer to J(pi). So t trades bias for
noise.

Derived here from what its two names say: that it is Wang and Bui's to the letter is not claimed. Public code of that
name averages the Jacobian of ReinMax's first term alone, J(softmax((log((pi + z) / 2) + G) / t)) / t over G given z. z
is not drawn by (pi + z) / 2, and its limit at t = 0 is R(z) - J(pi) / 2, short of half a straight-through, by the sum
that ``gumbel_rao`` states: it is not taken.

Liu, Dong, Liu, Yu, Gao: Bridging Discrete and Backpropagation, NeurIPS 2023; Paulus, Maddison, Krause:
Rao-Blackwellizing the Straight-Through Gumbel-Softmax Gradient Estimator, ICLR 2021; Wang, Bui: ReinMax-Rao, 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppgen.arguments import Count, Positive
from ppgen.objectives.discrete.relaxations import AtStates, heun, relaxed_given
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.discrete_families import DiscreteFamily
from ppgen.registry import register_objective

__all__ = ["ReinMaxRao"]


@register_objective(
    "reinmax_rao",
    summary="ReinMax averaged over Gumbel noise given the state: less noise, more bias; biased",
    reference="Liu et al., Bridging discrete and backpropagation; Rao-Blackwellised after Wang and Bui",
    year=2026,
    link="https://arxiv.org/abs/2304.08612",
    tags=("estimator", "relaxation", "discrete", "biased"),
    tiny=lambda: ReinMaxRao(num_particles=2, inner_draws=2),
)
@dataclass(frozen=True, kw_only=True)
class ReinMaxRao(AtStates):
    """ReinMax over conditional Gumbels for ``bound`` with ``num_particles`` (K) particles; its value is the bound's.

    ``temperature``: of what the Gumbels say; near 0 it is :class:`ReinMax`. ``inner_draws``: S, for each state.

    >>> ReinMaxRao(temperature=0.3, inner_draws=100).is_bound
    True
    """

    splits_particles = False  # its noise is drawn beside that of the states

    temperature: Scheduled[Positive] = 0.5
    inner_draws: Count = 10

    def stand_in(self, family: DiscreteFamily, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        temperature: Any = self.temperature
        return heun(family, fn, relaxed_given(family, fn, state, temperature, self.inner_draws).mean(0))
