"""ReinMax: straight-through to second order, by Heun's rule in the place of Euler's; biased, at no further run.

Let f be log w as a function of one unit z, g(z) its slope at a state, pi = softmax(l), J(m) = diag(m) - m m'. As the
probabilities' derivatives sum to zero, the exact gradient is a sum of differences between two states a and b,

    grad E[f] = sum_a f(a) grad pi_a = sum_a sum_b pi_b (f(a) - f(b)) grad pi_a.                                  (1)

Straight-through takes g(b) . (a - b) for f(a) - f(b), Euler's rule with one slope: in all E[J(pi) g(z)]. The trapezoid
(g(a) + g(b)) . (a - b) / 2, Heun's rule, is exact where f is quadratic. Its half with g(b) is half of straight-through,
since sum_a grad pi_a = 0; its half with g(a) is (1/2) E_a[(a - pi)(a - pi)' g(a)], since sum_b pi_b (a - b) = a - pi
and grad pi_a = pi_a (a - pi). So the gradient by l is

    R(z)' g(z) + d log w/dl,    R(z) = (J(pi) + (z - pi)(z - pi)') / 2 = 2 J((pi + z) / 2) - J(pi) / 2,           (2)

the last of which is how the paper writes it, with softmax(l / t) for the first pi at temperature t (t >= 1 is what it
recommends). A Bernoulli unit is a unit of two classes: R = (p (1 - p) + (z - p)^2) / 2.

**Value**: the bound at states. **Bias**: none at t = 1 where log w is at most quadratic in each unit of the guide's one
layer, given the others, whatever it is in several of them together (log q is linear); else of third order in f. With
more layers the slope of a later layer's mean stands in for that of its draws. **Variance**: J(pi) has none, but
(z - pi)(z - pi)' is a score times a difference of first order, so that it is above straight-through's. Half of (2) is
REINFORCE with g(z) . (z - pi) as signal. It is the limit of ``gumbel_rao`` as its temperature goes to 0.

The model's gradient is exact; reparameterized latents keep their pathwise gradient. Bounds of several particles too.

Liu, Dong, Liu, Yu, Gao: Bridging Discrete and Backpropagation: Straight-Through and Beyond, NeurIPS 2023, theorem 3.1
for (1), theorem 3.2 and algorithm 2 for (2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppgen.objectives.discrete.relaxations import AtStates, heun
from ppgen.pairs.discrete_families import DiscreteFamily
from ppgen.registry import register_objective

__all__ = ["ReinMax"]


@register_objective(
    "reinmax",
    summary="straight-through to second order: exact where log w is quadratic in each unit; biased",
    reference="Liu et al., Bridging discrete and backpropagation: straight-through and beyond",
    year=2023,
    link="https://arxiv.org/abs/2304.08612",
    tags=("estimator", "relaxation", "discrete", "biased"),
    tiny=lambda: ReinMax(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class ReinMax(AtStates):
    """ReinMax for ``bound`` with ``num_particles`` (K) particles; its value is the bound's.

    >>> objective = ReinMax(temperature="linear(1.3, 1.0, 1000)")
    >>> objective.at(1000).temperature, objective.is_bound, objective.unbiased_gradient
    (1.0, True, False)
    """

    def stand_in(self, family: DiscreteFamily, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        return heun(family, fn, state, family.mean(fn, self.temperature))  # type: ignore[arg-type]  # held at a step
