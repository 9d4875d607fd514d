"""Gapped straight-through: the slope of a relaxation in which the drawn state wins by a gap, without further noise.

Straight-through Gumbel takes the slope of softmax((l + G) / t), G the noise that made z. Two things about l + G matter:
its largest entry is z's (*consistency*), and it is so by a margin, whose mean given z is -log(1 - p) / p for a state of
mass p. Here l is moved, without noise, as little as gives it both. With the gap c > 0 and a class k of z,

    l~_k = max_j l_j,        l~_j = min(l_j, max_i l_i - c) otherwise,        dz/dl taken to be d softmax(l~ / t)/dl,

in which the two moves, (max_j l_j - l_k) z and -(l_j + c - max_i l_i)_+ (1 - z), have no gradient. Bernoulli:
l~ = s max(s l, c), s = 2 z - 1. ``gap="expected"`` is the mean margin above, one for each state.

**Value**: the bound at states. **Gradient** of the guide: (J(y) / t)' g + d log w/dl, y = softmax(l~ / t), J(y) =
diag(y) - y y', g the slope of log w's extension at z; that of the model is its own. **Bias**: of first order, even
where log w is linear, unless sum_z pi(z) J(y(z)) / t happens to be J(pi). **Variance**: it is a function of z alone,
which has not the noise of straight-through Gumbel given z; ``gumbel_rao`` takes the same noise out by averaging over
it.

Reparameterized latents keep their pathwise gradient. Bounds of several particles too.

Fan, Chi, Rudnicky, Ramadge: Training Discrete Deep Generative Models via Gapped Straight-Through Estimator, ICML 2022,
section 3: the two perturbations, and the gaps 1.0 and -log(1 - p) / p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from ppgen.arguments import Positive
from ppgen.objectives.discrete.relaxations import AtStates
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.discrete_families import DiscreteFamily
from ppgen.registry import register_objective

__all__ = ["GappedStraightThrough"]


@register_objective(
    "gapped_straight_through",
    summary="straight-through by logits that are moved until the state wins by a gap; biased",
    reference="Fan, Chi, Rudnicky and Ramadge, Training discrete deep generative models via gapped straight-through",
    year=2022,
    link="https://arxiv.org/abs/2206.07235",
    tags=("estimator", "relaxation", "discrete", "biased"),
    tiny=lambda: GappedStraightThrough(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class GappedStraightThrough(AtStates):
    """Gapped straight-through for ``bound`` with ``num_particles`` (K) particles; its value is the bound's.

    ``gap``: in nats, or ``"expected"``: that of Gumbels given the state.

    >>> GappedStraightThrough(gap="expected", temperature=0.7).is_bound
    True
    """

    temperature: Scheduled[Positive] = 0.5
    gap: Positive | Literal["expected"] = 1.0

    def stand_in(self, family: DiscreteFamily, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        temperature: Any = self.temperature
        gap = family.expected_gap(fn, state) if self.gap == "expected" else self.gap
        moved = family.of(family.gapped(fn, state, gap).detach())
        stand_in: Tensor = family.spread(family.mean(moved, temperature), family.logits(fn)) / temperature
        return stand_in
