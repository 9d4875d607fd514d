"""The evidence lower bound with K particles.

    ELBO(x) = E_q [ (1/K) sum_k log w_k ]  <=  log p(x),        log w = log p(x, z) - log q(z | x),

tight when q(z | x) = p(z | x). K changes the variance only. The gradient is pathwise (reparameterized) and unbiased:
every latent of the guide must have a reparameterized sample. Global latents are allowed: the bound is a mean.

Kingma, Welling: Auto-Encoding Variational Bayes, ICLR 2014, eq. 6 (the first SGVB estimator).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.objective import Scheduled
from ppgen.registry import register_objective

__all__ = ["ELBO"]


@register_objective(
    "elbo",
    summary="evidence lower bound, pathwise gradient",
    reference="Kingma and Welling, Auto-encoding variational Bayes",
    year=2014,
    link="https://arxiv.org/abs/1312.6114",
    tags=("bound", "pathwise"),
    tiny=lambda: ELBO(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class ELBO(Reduction):
    """The evidence lower bound; ``num_particles`` (K) averages its gradient.

    >>> import ppgen
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.zeros(4, 3)
    >>> pair.set_exact_guide()  # where the bound is tight
    >>> loss = ELBO().differentiable_loss(pair.model, pair.guide, x)
    >>> torch.allclose(-loss, pair.log_evidence(x).sum())
    True
    """

    needs_rsample = True
    is_mean = True

    num_particles: Scheduled[Count] = 1

    def reduce(self, log_w: Tensor) -> Tensor:
        return log_w.mean(0)

    def weights(self, log_w: Tensor) -> Tensor:
        return torch.full_like(log_w, 1 / len(log_w))

    def path_weights(self, log_w: Tensor) -> Tensor:
        return self.weights(log_w)
