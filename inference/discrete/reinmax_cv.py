"""ReinMax with control variates: without the score, and with what log w is to first order taken exactly.

ReinMax gives the slope g(z) of log w's extension at a state z to the natural parameters l as R(z)' g(z), with

    R(z) = 2 J((m + z) / 2) - J(pi) / 2,        J(m) = diag(m) - m m',  pi = softmax(l),  m = softmax(l / t),

beside d log w/dl at fixed z (:mod:`ppgen.inference.discrete.reinmax`). Two parts of it have a known mean:

    E[d log w/dl] = -E[grad log q(z)] = -E[z - pi] = 0,                                                           (1)
    E[R(z)' a] = (2 J((m + pi) / 2) - J(pi))' a,        J(pi) a at t = 1,        for any a that does not see z,     (2)

the last since the covariance of the midpoint (m + z) / 2 is J(pi) / 4. So the gradient by l is

    R(z)' (g(z) - eta a) + eta E[R]' a,                                                                           (3)

where a = J_i is the slope of log w with every discrete latent at its mean, through later means too
(:mod:`ppgen.objectives.discrete.at_means`).

**Value**: the bound at states. **Gradient** of the model: its own, at the states. **Bias**: that of ReinMax, whatever
the number of layers and eta: given what was drawn before z_i, (1) and (2) hold for z_i, and neither weight nor a sees
it. **Variance**: without (1) none is left where the guide is the posterior and log w linear, and with (2) at eta = 1
none where log w is linear; elsewhere no theorem says that it falls. Measured on the pairs of the tests it is 1/2 to
1/30 of ReinMax's, nearly all by (1), and a third more on a single coin, whose reward outweighs its entropy. One more
run of log w, at the means, unless eta = 0.

A bound of K particles weighs log w_k's terms by v_k; (1) and (2) are weighed by v_k with the mean of the others in the
place of log w_k, which does not see z_k (:mod:`ppgen.objectives.discrete.score_function`). Reparameterized latents keep
their pathwise gradient.

A control variate of mean zero given z, such as straight-through Gumbel less Gumbel-Rao, is of no use: R(z) is a
function of z, with which it is uncorrelated. Hence those of known mean over z. Derived here from what the name says;
that they are Wang and Bui's to the letter is not claimed.

Liu, Dong, Liu, Yu, Gao: Bridging Discrete and Backpropagation, NeurIPS 2023; Gu, Levine, Sutskever, Mnih: MuProp, ICLR
2016, for the expansion; Roeder, Wu, Duvenaud: Sticking the Landing, NeurIPS 2017, for (1); Wang, Bui: ReinMax-CV, 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import NonNegative
from ppgen.objectives.discrete.at_means import AtMeans
from ppgen.objectives.discrete.relaxations import AtStates, heun
from ppgen.objectives.discrete.score_function import without_own
from ppgen.objectives.objective import with_gradient_of
from ppgen.pairs.discrete_families import DiscreteFamily, family_of
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Particles
from ppgen.registry import register_objective

__all__ = ["ReinMaxCV"]


@register_objective(
    "reinmax_cv",
    summary="ReinMax without the score, and with the expansion around the means as control variate; biased as ReinMax",
    reference="Liu et al., Bridging discrete and backpropagation; with control variates after Wang and Bui",
    year=2026,
    link="https://arxiv.org/abs/2304.08612",
    tags=("estimator", "relaxation", "discrete", "biased"),
    tiny=lambda: ReinMaxCV(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class ReinMaxCV(AtStates):
    """ReinMax with control variates for ``bound`` with ``num_particles`` (K) particles; its value is the bound's.

    ``eta``: the share of the expansion around the means that is taken exactly; 0: the score alone is left out.

    >>> import ppgen, torch
    >>> pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,))
    >>> _ = [torch.nn.init.zeros_(p) for p in pair.parameters()]  # three fair bits, and the guide is the posterior
    >>> loss = ReinMaxCV().loss_and_grads(pair.model, pair.guide, torch.ones(1, 3))
    >>> bool(pair.encoders[0].layers[-1].bias.grad.abs().max() < 1e-6)  # of one particle: no noise
    True
    """

    splits_particles = False  # it reads the sites of each particle

    eta: NonNegative = 0.5

    def stand_in(self, family: DiscreteFamily, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        return heun(family, fn, state, self._mean(family, fn))

    def estimate(self, particles: Particles) -> Tensor:
        value = super().estimate(particles)  # (B,)
        if not particles.scored:  # what stands outside the data plate
            return value
        log_w = particles.log_w.detach()
        others = (log_w.sum(0) - log_w) / max(len(log_w) - 1, 1)
        _, weights = without_own(self.reduction, log_w, others)  # (K, B)
        return with_gradient_of(value, value + (weights * self._controls(particles)).sum(0))

    def _controls(self, particles: Particles) -> Tensor:
        """What has the gradient that is given back less the one that is taken off, (K, B)."""
        sites = [particles.guide_sites[name] for name in particles.scored]
        scores = torch.stack([particles.reduced(site, self._log_q(site)) for site in sites]).sum(0)
        if not self.eta:
            return scores
        around = AtMeans.of(particles, type(self).__name__)
        return scores + self.eta * around.along(particles, self._control)

    def _log_q(self, site: Site) -> Tensor:
        """log q of the state that was drawn, as of a number."""
        return family_of(site, type(self).__name__).log_prob(site["fn"], site["value"].detach())

    def _control(self, site: Site) -> Tensor:
        """What has the gradient E[R] - R(z) by l, of the shape of the site's value."""
        family, fn = family_of(site, type(self).__name__), site["fn"]
        pi, mean, logits = family.mean(fn).detach(), self._mean(family, fn).detach(), family.logits(fn)
        expected = 2 * family.spread((mean + pi) / 2, logits) - family.spread(pi, logits)
        return expected - heun(family, fn, site["value"], mean)

    def _mean(self, family: DiscreteFamily, fn: Any) -> Tensor:
        temperature: Any = self.temperature
        return family.mean(fn, temperature)
