"""Straight-through: discrete samples on the way forward, the gradient of a smooth stand-in on the way back; biased.

    value z, a state;        dz/dl taken to be  d/dl E[z; l / t]             (``gumbel=False``: Bengio et al.)
                                                d/dl softmax(zeta / t)       (``gumbel=True``: straight-through Gumbel)

for natural parameters l, with z the state that zeta's noise makes (:mod:`ppgen.pairs.discrete_families`). What is
reported is the **bound at states**, as honest as that of any estimator, and the model's gradient is its own; the
guide's is

    d log w/dz  dz/dl  +  d log w/dl,        the slope of log w's extension at a state in the place of a difference,

which is right where log w is linear in each z and t = 1, and biased elsewhere. t > 1 flattens the stand-in, t < 1
steepens it: ``temperature=exponential(1.0, 0.1, 100000)`` anneals its slope. Reparameterized latents keep their
pathwise gradient.

Bengio, Leonard, Courville: Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation,
2013, section 4; slope annealing: Chung, Ahn, Bengio: Hierarchical Multiscale Recurrent Neural Networks, ICLR 2017;
straight-through Gumbel-Softmax: Jang, Gu, Poole, ICLR 2017, section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppgen.objectives.discrete.relaxations import AtStates
from ppgen.pairs.discrete_families import DiscreteFamily
from ppgen.registry import register_objective

__all__ = ["StraightThrough"]


@register_objective(
    "straight_through",
    summary="discrete samples whose gradient is that of their mean, or of a relaxation; biased",
    reference="Bengio, Leonard and Courville, Estimating or propagating gradients through stochastic neurons",
    year=2013,
    link="https://arxiv.org/abs/1308.3432",
    tags=("estimator", "relaxation", "discrete", "biased"),
    tiny=lambda: StraightThrough(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class StraightThrough(AtStates):
    """The straight-through gradient of ``bound`` with ``num_particles`` (K) particles; its value is the bound's.

    ``gumbel``: the stand-in is the relaxation that the state came from, and not its mean.

    >>> objective = StraightThrough(temperature="linear(1.0, 0.5, 1000)")
    >>> objective.at(500).temperature, objective.is_bound
    (0.75, True)
    """

    gumbel: bool = False

    def stand_in(self, family: DiscreteFamily, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        temperature: Any = self.temperature
        return family.relax(fn, u, temperature) if self.gumbel else family.mean(fn, temperature)
