"""The beta-VAE objective: a weighted divergence, with annealing and free bits.

    L(x) = E_q [ log p(x | z) ] - b sum_s max( f, KL_s ),        KL_s = KL( q(z_s | .) || p(z_s | .) ),

with weight b (a number, or a schedule such as ``linear(0, 1, 10_000)`` for annealing) and f free nats for each latent
site s. b = 1 and f = 0 is the ELBO; for b >= 1 the value is a lower bound on log p(x), for b < 1 it is not. With f > 0
the KL is averaged over the batch before the maximum (Kingma et al. 2016, eq. 15), so the objective is no sum over
data: its value depends on who shares a batch.

Higgins et al.: beta-VAE, ICLR 2017, eq. 4; Bowman et al. 2016 (annealing); Kingma et al.: Improved Variational
Inference with Inverse Autoregressive Flow, NeurIPS 2016 (free bits).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.arguments import Count, NonNegative
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import Scheduled, capability
from ppgen.pairs.divergence import divergences
from ppgen.pairs.tracing import Particles
from ppgen.registry import register_objective

__all__ = ["Beta"]


@register_objective(
    "beta",
    summary="beta-VAE: weighted KL, annealing by schedule, free bits",
    reference="Higgins et al., beta-VAE",
    year=2017,
    link="https://openreview.net/forum?id=Sy2fzU9gl",
    tags=("pathwise",),
    tiny=lambda: Beta(beta=2.0, num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class Beta(Bound):
    """Weight ``beta`` on the KL, ``free_bits`` nats free for each latent site, ``num_particles`` (K) particles.

    >>> import ppgen, torch
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 1, "real"), latent_dim=1)
    >>> _ = torch.nn.init.zeros_(pair.weight), torch.nn.init.ones_(pair.guide_loc)  # x ~ N(0, 1), q(z | x) = N(1, 1)
    >>> losses = [Beta(beta=beta).loss(pair.model, pair.guide, torch.zeros(1, 1)) for beta in (0.0, 1.0, 4.0)]
    >>> [round(loss - losses[0], 4) for loss in losses]  # beta times the KL
    [0.0, 0.5, 2.0]
    """

    needs_rsample = True

    beta: Scheduled[NonNegative] = 1.0
    free_bits: NonNegative = 0.0
    num_particles: Scheduled[Count] = 1

    @capability
    def is_bound(self) -> bool:
        """Whether the value is below log p(x): for beta >= 1."""
        return not callable(self.beta) and self.beta >= 1

    @capability
    def unbiased_gradient(self) -> bool:
        """False with free bits: a maximum of an estimate."""
        return self.free_bits == 0

    @capability
    def splits_data(self) -> bool:
        """False with free bits, which are free on average over the batch."""
        return self.free_bits == 0

    def estimate(self, particles: Particles) -> Tensor:
        divergence = sum(self._freed(kl) for kl in divergences(particles))  # (K, B)
        return (particles.log_likelihood - self.beta * divergence).mean(0)  # type: ignore[operator]

    def _freed(self, kl: Tensor) -> Tensor:
        return kl if self.free_bits == 0 else kl.mean().clamp_min(self.free_bits).expand(kl.shape)
