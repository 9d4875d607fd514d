"""REBAR: the score function's gradient with the relaxed bound as control variate, and its noise paid back by the path.

With z = H(zeta) a discrete sample, zeta = g(u; l), and s = sigma_t(zeta) its relaxation at temperature t, for one layer

    grad = [f(z) - eta f(s)] grad log q(z) + eta f'(s) grad [sigma_t(g(u; l)) - sigma_t(g~(v; z, l))],     f = log w,

where g~ given z is the same number as g: :mod:`ppgen.objectives.discrete.control_variates` derives it, also for several
layers, one-hot categorical units, bounds of several particles, and pairs with reparameterized latents besides. It is
unbiased at any t and eta, which are learned by lowering the variance, for each discrete site. eta = 0 is the score
function; as t goes to 0 the relaxed f follows f and the path's noise grows. What f - eta f(s) is on average is a
baseline's to take off.

Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein: REBAR: Low-variance, Unbiased Gradient Estimates for Discrete Latent
Variable Models, NeurIPS 2017, eq. 5 and section 3.4. ``adaptive=False, temperature=0.1`` is its REBAR (0.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from ppgen.objectives.discrete.control_variates import Control, RelaxedControl
from ppgen.pairs.tracing import Particles
from ppgen.registry import register_objective

__all__ = ["REBAR"]


@register_objective(
    "rebar",
    summary="score-function gradient with the relaxed bound as control variate",
    reference="Tucker et al., REBAR: Low-variance, unbiased gradient estimates for discrete latent variable models",
    year=2017,
    link="https://arxiv.org/abs/1703.07370",
    tags=("estimator", "relaxation", "discrete"),
    tiny=lambda: REBAR(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class REBAR(RelaxedControl):
    """REBAR for ``bound`` with ``num_particles`` (K) particles; its own parameters: ``log_temperature``, ``eta``.

    >>> import ppgen, torch
    >>> pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(4, 2))
    >>> own = REBAR(temperature=0.5).parameters(pair, (torch.zeros(5, 3),))
    >>> own.log_temperature.exp()  # of each layer, to be learned
    tensor([0.5000, 0.5000], grad_fn=<ExpBackward0>)
    """

    def control(self, particles: Particles) -> Control:
        return Control(len(particles.scored), self.temperature, self.eta)
