"""The doubly reparameterized gradient: no score of the guide at any number of particles.

Write a bound as a function of log-weights, with v_k = d bound / d log w_k. Its pathwise gradient holds the score term
-sum_k v_k d log q(z_k)/dphi, which is noise of expectation not zero when v_k depends on z_k. Reparameterizing a second
time turns it into a path derivative, because v_k sees z_k through log w_k alone:

    E sum_k v_k d log q(z_k; phi)/dphi = E sum_k (d v_k / d log w_k) (d log w_k / d z_k) dz_k/dphi,

so that the guide's gradient is

    sum_k c_k (d log w_k / d z_k) dz_k/dphi,        c_k = v_k - d v_k / d log w_k,

with q's own parameters held fixed. For the importance-weighted bound v = w~ and c = w~^2 (Tucker et al.); for the Renyi
bound c = a w~ + (1 - a) w~^2; for the ELBO c = 1/K, sticking the landing. The model's gradient stays
sum_k v_k d log p(x, z_k)/dtheta. Both are unbiased; the guide's signal-to-noise ratio grows as sqrt(K), and its
variance is zero when the guide is the posterior.

The two weights stand on two scorings of the same particles, one with all parameters fixed and one with the latents
fixed, and not on a hook at each latent: along z1 -> z2 a hook would apply the weight twice. Beside latents that are
scored it is ``pathwise="dreg"`` of their estimator (:mod:`ppgen.objectives.pathwise`).

Tucker, Lawson, Gu, Maddison: Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives, ICLR 2019, eq. 8.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName, check_smooth
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.pathwise import PathDerivative
from ppgen.pairs.reductions import weighted_sum
from ppgen.pairs.tracing import Particles
from ppgen.registry import register_objective

__all__ = ["DReG"]


@register_objective(
    "dreg",
    summary="doubly reparameterized gradient of the importance-weighted (or another) bound",
    reference="Tucker et al., Doubly reparameterized gradient estimators for Monte Carlo objectives",
    year=2019,
    link="https://arxiv.org/abs/1810.04152",
    tags=("estimator", "pathwise"),
    tiny=lambda: DReG(num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class DReG(PathDerivative):
    """The doubly reparameterized gradient of ``bound``, with ``num_particles`` (K) particles.

    Raises:
        UsageError: the weights of the bound jump, so that they have no derivative.

    >>> DReG(num_particles=8).target, DReG(num_particles=8, bound="renyi").target
    (IWELBO(num_particles=8), Renyi(num_particles=8, alpha=0.5))
    """

    num_particles: Scheduled[Count] = 5
    bound: BoundName = "iwelbo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_smooth(self)

    def along(self, particles: Particles, v: Tensor, c: Tensor) -> Tensor:
        along_path = particles.with_fixed(model=True, guide=True).log_w  # (K, B)
        for_model = particles.with_fixed(latents=True).log_p  # (K, B)
        return weighted_sum(c, along_path) + weighted_sum(v, for_model)
