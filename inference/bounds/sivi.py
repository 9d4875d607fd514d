"""Semi-implicit variational inference: a guide with a mixing site, of which draws beside its own average the density.

A guide draws noise e ~ q(e | x) at a *mixing site*, which the model has not, and z ~ q(z | x, e): together a mixture of
infinitely many components, of any form, whose density has no closed form. A mixing site is an auxiliary site whose
log-probability counts nowhere, as the noise of a denoising guide and the dropout of ``prodlda`` are:

    with poutine.mask(mask=False):
        e = pyro.sample("e", dist.Normal(zeros, 1.0).to_event(1), infer={"is_auxiliary": True})

``guide=semi_implicit`` of pairs with an amortised guide has one that is learnt (:mod:`ppgen.layers.semi_implicit`).

All other objectives then take the bound at log q(z | x, e), e known, the loosest of those that follow. With J extra
draws e_1, ..., e_J ~ q(e | x) beside the e_0 that z was made of, and independent of it,

    log w = log p(x, z) - log (1/(J+1)) sum_{j=0}^J q(z | x, e_j).                                                 (1)

By symmetry z might have been made of any of the J + 1, so E[w] = p(x) and E[log w] <= log p(x): a lower bound at every
J, which rises with it (to the evidence bound of the mixture itself as J grows), and is the plain one at J = 0. Leaving
e_0 out of the sum would make of it an estimate from above. K particles have e_j of their own and independent weights,
so any bound may be taken of them. A guide without a mixing site has the plain weights.

The gradient is that of (1), along z, e_0 and all e_j, reparameterized: unbiased. The extra draws run the guide alone, J
times for each particle.

Yin, Zhou: Semi-Implicit Variational Inference, ICML 2018, eq. 9 to 12 (the surrogate bound, its order in K there, J
here, and the particles of its importance-weighted form). Sobolev, Vetrov: Importance Weighted Hierarchical Variational
Inference, NeurIPS 2019, for the symmetry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from ppgen.arguments import Count
from ppgen.errors import UsageError, shown
from ppgen.objectives.bounds import BoundName, Estimator
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.mixing import mixture_log_w
from ppgen.pairs.sites import is_point
from ppgen.pairs.stacking import log_prob_of
from ppgen.pairs.tracing import Particles
from ppgen.registry import register_objective

__all__ = ["SIVI"]


@register_objective(
    "sivi",
    summary="bound of a guide with a mixing site, its density averaged over extra draws (semi-implicit)",
    reference="Yin and Zhou, Semi-implicit variational inference",
    year=2018,
    link="https://arxiv.org/abs/1805.11183",
    tags=("bound", "pathwise", "implicit"),
    tiny=lambda: SIVI(num_particles=2, num_extra=2),
)
@dataclass(frozen=True, kw_only=True)
class SIVI(Estimator):
    """``bound`` of ``num_particles`` (K) particles, ``num_extra`` (J) draws of the mixing sites beside its own.

    Raises:
        UsageError: when the pair is run: a latent has no reparameterized sample, is a point given a mixing site, or
            stands outside the data plate, or a mixing site with parameters has no reparameterized sample.

    >>> import ppgen
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.zeros(4, 3)
    >>> SIVI(num_extra=5).differentiable_loss(pair.model, pair.guide, x).shape  # without a mixing site: the ELBO
    torch.Size([])
    """

    needs_rsample = True
    per_datum = True

    num_particles: Scheduled[Count] = 1
    num_extra: Scheduled[Annotated[int, Ge(0)]] = 10
    bound: BoundName = "elbo"

    @property
    def target(self) -> None:
        """None: ``bound`` is taken of the weights of a mixture, which are no function of the guide's own."""

    def estimate(self, particles: Particles) -> Tensor:
        return self.reduction.reduce(self.log_weights(particles))

    def log_weights(self, particles: Particles) -> Tensor:
        """log w of (1), (K, B), in nats."""
        return mixture_log_w(particles, int(self.num_extra))  # type: ignore[arg-type]  # no schedule by now

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        self._check_mixing(particles)
        points = [name for name in particles.latents if is_point(particles.guide_sites[name])]
        if particles.mixing and points:
            raise UsageError(
                f"site {shown(points[0])} of the guide is a point given its mixing site {shown(particles.mixing[0])}, "
                "and SIVI needs its density there: draw it with a scale, or train with 'avb', which needs none."
            )

    def _check_mixing(self, particles: Particles) -> None:
        scored = [name for name in particles.mixing if not particles.guide_sites[name]["fn"].has_rsample]
        with torch.enable_grad():
            sites = particles.runner.anew().guide({})[0] if scored else {}
            learnt = [name for name in scored if log_prob_of(sites[name]).requires_grad]
        for name in learnt:
            raise UsageError(
                f"mixing site {shown(name)} of the guide has parameters and no reparameterized sample: under SIVI "
                "their gradient would silently be biased; draw it from fixed noise, or from a Normal."
            )
