"""The evidence lower bound with its divergences in closed form.

    ELBO(x) = E_q [ log p(x | z) ] - sum_s E_q KL( q(z_s | .) || p(z_s | .) ),

each KL exact given the latents drawn before it, where Pyro has it and the model's distribution of z_s does not depend
on z_s itself through a latent that the guide draws later; the other sites are sampled, as in the ELBO. Same bound,
same unbiased pathwise gradient; at most the variance of the likelihood's part. At least as good as sampling in
most models, but no theorem: where q is the posterior, the sampled form with ``stl`` has variance zero and this one not.

Kingma, Welling: Auto-Encoding Variational Bayes, ICLR 2014, eq. 7 (the second SGVB estimator).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Bound, Reduction
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.divergence import divergences
from ppgen.pairs.tracing import Particles
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["AnalyticKL"]


@register_objective(
    "analytic_kl",
    summary="evidence lower bound with exact KL where Pyro has one",
    reference="Kingma and Welling, Auto-encoding variational Bayes",
    year=2014,
    link="https://arxiv.org/abs/1312.6114",
    tags=("bound", "pathwise"),
    tiny=lambda: AnalyticKL(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class AnalyticKL(Bound):
    """The ELBO with closed-form KL, with ``num_particles`` (K) particles.

    >>> import math, ppgen, torch
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 1, "real"), latent_dim=1)
    >>> _ = torch.nn.init.zeros_(pair.weight), torch.nn.init.ones_(pair.guide_loc)  # x ~ N(0, 1), q(z | x) = N(1, 1)
    >>> loss = AnalyticKL().loss(pair.model, pair.guide, torch.zeros(1, 1))
    >>> round(loss - 0.5 * math.log(2 * math.pi), 4)  # KL(q || N(0, 1)), without noise
    0.5
    """

    needs_rsample = True

    num_particles: Scheduled[Count] = 1

    @property
    def target(self) -> Reduction:
        """The ELBO, whose expectation this has too."""
        return OBJECTIVES["elbo"].cls(num_particles=self.num_particles)  # type: ignore[no-any-return]

    def estimate(self, particles: Particles) -> Tensor:
        divergence = sum(divergences(particles))  # (K, B)
        return (particles.log_likelihood - divergence).mean(0)
