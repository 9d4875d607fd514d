"""Sticking the landing: the pathwise gradient without the score of the guide.

The gradient of log q(z_phi | x; phi) by phi has a part through z and a part through phi directly; the second, the
score, has expectation zero and is left out:

    d/dphi log w = d/dz [ log p(x, z) - log q(z | x) ] dz/dphi,        with q's own parameters held fixed.

For the ELBO this is unbiased, and its variance is zero when the guide is the posterior. Under a bound of several
particles that is not their mean (``bound="iwelbo"``), the score's expectation is not zero and the guide's gradient
is biased: use ``dreg`` there. In a hierarchical guide q(z1 | x) q(z2 | z1) the path from z1 through the parameters of
q(z2 | z1) survives: parameters are held fixed, not distributions. Of a guide that is a flow it is the path gradient,
whose density is taken by the inverse at fixed parameters (:mod:`ppgen.pairs.transformed`). Beside latents that are
scored it is ``pathwise="stl"`` of their estimator (:mod:`ppgen.objectives.pathwise`).

Roeder, Wu, Duvenaud: Sticking the Landing, NeurIPS 2017, eq. 8; Tucker et al., ICLR 2019, section 3, for the bias;
Vaitl, Nicoli, Nakajima, Kessel: Gradients should stay on Path, 2022, for flows.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName, Reduction
from ppgen.objectives.objective import Scheduled, capability
from ppgen.objectives.pathwise import PathDerivative
from ppgen.pairs.reductions import weighted_sum
from ppgen.pairs.tracing import Particles
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["STL"]


@register_objective(
    "stl",
    summary="sticking the landing: pathwise gradient without the guide's score",
    reference="Roeder, Wu and Duvenaud, Sticking the landing",
    year=2017,
    link="https://arxiv.org/abs/1703.09194",
    tags=("estimator", "pathwise"),
    tiny=lambda: STL(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class STL(PathDerivative):
    """Sticking the landing for ``bound`` (a name or an objective), with ``num_particles`` (K) particles.

    >>> import ppgen, torch
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.ones(4, 3)
    >>> pair.set_exact_guide()
    >>> loss = STL().loss_and_grads(pair.model, pair.guide, x)
    >>> bool(pair.guide_weight.grad.abs().max() < 1e-4)  # of one draw: no noise at the posterior
    True
    """

    num_particles: Scheduled[Count] = 1
    bound: BoundName = "elbo"

    @capability
    def unbiased_gradient(self) -> bool:
        """True for the ELBO (and one particle of any bound)."""
        return self.num_particles == 1 or self.reduction == OBJECTIVES["elbo"].cls(num_particles=self.num_particles)

    def path_weights(self, bound: Reduction, log_w: Tensor) -> Tensor:
        return bound.weights(log_w)

    def along(self, particles: Particles, v: Tensor, c: Tensor) -> Tensor:
        return weighted_sum(v, particles.with_fixed(guide=True).log_w)
