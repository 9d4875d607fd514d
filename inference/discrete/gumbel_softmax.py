"""Gumbel-Softmax: the bound of the relaxed latents, and its pathwise gradient; biased for the discrete pair.

Each discrete latent takes a relaxed value at temperature t instead of a state (:mod:`ppgen.pairs.discrete_families`),

    zeta_c = l_c - log(-log u_c),  z = softmax(zeta / t);        Bernoulli: z = sigmoid((l + log u - log(1 - u)) / t),

and log p and log q are extended to it multilinearly, so that for the ELBO E[log p - log q] is the relaxed fit less the
KL divergence of the discrete distributions at relaxed parents. The gradient is exactly that of this value's
expectation, at relaxed z. The value is **no bound** on log p(x) and not the discrete bound: model and decoder may use
what lies between the states, and ``evaluate``, which draws states, tells what is left. As t goes to 0 value and
gradient go to the discrete ones, and the gradient's variance to infinity; hence schedules, such as
``temperature=exponential(1.0, 0.5, 100000)``.

Reparameterized latents keep their pathwise gradient. Any bound of several particles will do, and is as little a bound.

Jang, Gu, Poole: Categorical Reparameterization with Gumbel-Softmax, ICLR 2017, eq. 2; Maddison, Mnih, Teh: The Concrete
Distribution, ICLR 2017, section 3, whose own choice of densities, those of the relaxed variables, this is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppgen.objectives.discrete.relaxations import Relaxed
from ppgen.pairs.discrete_families import DiscreteFamily
from ppgen.registry import register_objective

__all__ = ["GumbelSoftmax"]


@register_objective(
    "gumbel_softmax",
    summary="pathwise gradient of the bound of relaxed discrete latents; biased, and no bound",
    reference="Jang, Gu and Poole, Categorical reparameterization with Gumbel-Softmax",
    year=2017,
    link="https://arxiv.org/abs/1611.01144",
    tags=("estimator", "relaxation", "discrete", "biased"),
    tiny=lambda: GumbelSoftmax(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class GumbelSoftmax(Relaxed):
    """The relaxed ``bound`` of ``num_particles`` (K) particles; its value is that of the relaxed latents.

    >>> objective = GumbelSoftmax(temperature="linear(1.0, 0.5, 1000)")
    >>> objective.at(500).temperature, objective.is_bound
    (0.75, False)
    """

    is_bound = False  # whatever the bound is, at relaxed latents it is none

    def value(self, family: DiscreteFamily, fn: Any) -> Tensor:
        return family.relax(fn, family.uniforms(fn), self.temperature)  # type: ignore[arg-type]  # held at a step
