"""ReinMax with a control variate: what log w is to first order around the means has its exact gradient, without noise.

ReinMax gives the slope g(z) of log w's extension at a state z to the natural parameters l as R(z)' g(z), with

    R(z) = 2 J((m + z) / 2) - J(pi) / 2,        J(m) = diag(m) - m m',  pi = softmax(l),  m = softmax(l / t),

(:mod:`ppgen.inference.discrete.reinmax`). Its noise is that of R(z), even where g is constant. For any a that does not
see z, R(z)' a is a control variate of known mean,

    E[R(z)] = 2 J((m + pi) / 2) - J(pi),        J(pi) at t = 1,                                                   (1)

since the covariance of the midpoint (m + z) / 2 is J(pi) / 4. Let a = J_i, the slope of log w with every discrete
latent at its mean, through later means too (:mod:`ppgen.objectives.discrete.at_means`): the gradient by l is

    R(z)' (g(z) - a) + E[R]' a + d log w/dl.                                                                      (2)

**Value**: the bound at states. **Gradient** of the model: its own, at the states. **Bias**: that of ReinMax, whatever
the number of layers: given what was drawn before z_i, R(z_i) has the mean (1), and a sees nothing. **Variance**: none
is left where log w is linear; where it is not, that of R(z) (g(z) - a), as in MuProp that of the score. It is no
theorem that it is below ReinMax's: it is where slopes at states are nearer to a than to 0. One more run of log w, at
the means.

A bound of K particles weighs log w_k's slope by v_k; here (1) and a are weighed by v_k with log w at the means in the
place of log w_k, which does not see z_k (:mod:`ppgen.objectives.discrete.score_function`). Reparameterized latents keep
their pathwise gradient.

A control variate of mean zero given z, such as straight-through Gumbel less Gumbel-Rao, is of no use: R(z) is a
function of z, with which it is uncorrelated. Hence one of known mean over z. Derived here from what its name says; that
it is Wang and Bui's to the letter is not claimed.

Liu, Dong, Liu, Yu, Gao: Bridging Discrete and Backpropagation, NeurIPS 2023; Gu, Levine, Sutskever, Mnih: MuProp, ICLR
2016, for the expansion; Wang, Bui: ReinMax-CV, 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

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
    summary="ReinMax with the expansion around the latents' means as control variate: less noise; biased as ReinMax",
    reference="Wang and Bui, Rao-Blackwellised and control-variate forms of ReinMax",
    year=2026,
    tags=("estimator", "relaxation", "discrete", "biased"),
    tiny=lambda: ReinMaxCV(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class ReinMaxCV(AtStates):
    """ReinMax with a control variate for ``bound`` with ``num_particles`` (K) particles; its value is the bound's.

    >>> import ppgen, torch
    >>> pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,))
    >>> _ = [torch.nn.init.zeros_(p) for p in pair.parameters()]  # three fair bits, and the guide is the posterior
    >>> loss = ReinMaxCV().loss_and_grads(pair.model, pair.guide, torch.ones(1, 3))
    >>> bool(pair.encoders[0].layers[-1].bias.grad.abs().max() < 1e-6)  # of one particle: no noise
    True
    """

    splits_particles = False  # it reads the sites of each particle

    def stand_in(self, family: DiscreteFamily, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        return heun(family, fn, state, self._mean(family, fn))

    def estimate(self, particles: Particles) -> Tensor:
        value = super().estimate(particles)  # (B,)
        if not particles.scored:  # what stands outside the data plate
            return value
        around = AtMeans.of(particles, type(self).__name__)
        _, weights = without_own(self.reduction, particles.log_w.detach(), around.level)  # (K, B)
        return with_gradient_of(value, value + (weights * around.along(particles, self._control)).sum(0))

    def _control(self, site: Site) -> Tensor:
        """What has the gradient E[R] - R(z) by l, of the shape of the site's value."""
        family, fn = family_of(site, type(self).__name__), site["fn"]
        pi, mean, logits = family.mean(fn).detach(), self._mean(family, fn).detach(), family.logits(fn)
        expected = 2 * family.spread((mean + pi) / 2, logits) - family.spread(pi, logits)
        return expected - heun(family, fn, site["value"], mean)

    def _mean(self, family: DiscreteFamily, fn: Any) -> Tensor:
        temperature: Any = self.temperature
        return family.mean(fn, temperature)
