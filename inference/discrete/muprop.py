"""MuProp: the score function's gradient with the first-order expansion around the means as control variate.

Run the guide and the model once with every discrete latent at its mean: z-bar_1 = mu_1(x), z-bar_2 = mu_2(z-bar_1), ...
Let F be log w there, and J_i = dF/dz-bar_i its derivative, through later means too: both are functions of x alone.
For z_i drawn, and mu_i = E[z_i | z_<i] at the z_<i that were drawn, let

    h = sum_i J_i . (z_i - mu_i),        what the expansion says of log w - F.

Given z_<i, E[z_i - mu_i] = 0 and E[(z_i - mu_i) grad log q(z_i | z_<i)] = grad mu_i, with z_<i held fixed. So the terms
j < i of h, known before z_i is drawn, and those j > i, of mean zero once it is, add nothing to E[h grad log q(z_i)],

    E[ h sum_i grad log q(z_i | z_<i) ] = E sum_i J_i . grad mu_i:

h may be taken from the learning signal, if the right side is added. For one particle and the ELBO,

    grad = grad log w + (log w - F - h - b) sum_i grad log q(z_i | z_<i) + sum_i J_i . grad mu_i,

unbiased, with a baseline b of what is left: by default its running mean, since F, at means, is well above log w at
states. (The paper takes for z_i the one term J_i . (z_i - z-bar_i) of h alone; the others take the noise of the other
layers out of it.) Where log w is linear in z nothing is left but the last term.

A bound f of K particles is expanded in turn: with f_k, v_k,k as in :mod:`ppgen.objectives.discrete.score_function` at
b_k = F + b, its coefficient for particle k has f_k + v_k,k h_k taken off, and sum_i v_k,k J_i . grad mu_i is added.
Reparameterized latents keep their pathwise gradient, which mu_i has too; in the run at the means they are drawn anew.

It is one more run of guide and model and one derivative by the means. Bernoulli and one-hot categorical latents.

Gu, Levine, Sutskever, Mnih: MuProp: Unbiased Backpropagation for Stochastic Neural Networks, ICLR 2016, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.discrete.at_means import AtMeans
from ppgen.objectives.discrete.baselines import Baseline, BaselineName, baseline_named
from ppgen.objectives.discrete.expansions import Expanded
from ppgen.objectives.discrete.score_function import Expansion
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.tracing import Particles
from ppgen.registry import register_objective

__all__ = ["MuProp"]


@register_objective(
    "muprop",
    summary="score-function gradient with the expansion around the latents' means as control variate",
    reference="Gu et al., MuProp: Unbiased backpropagation for stochastic neural networks",
    year=2016,
    link="https://arxiv.org/abs/1511.05176",
    tags=("estimator", "score function", "discrete"),
    tiny=lambda: MuProp(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class MuProp(Expanded):
    """MuProp for ``bound`` with ``num_particles`` (K) particles.

    ``baseline``: of what the expansion leaves; a name in ``ppgen.objectives.discrete.baselines.BASELINES``, or a
    baseline.

    >>> import ppgen, torch
    >>> pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,))
    >>> _ = [torch.nn.init.zeros_(p) for p in pair.parameters()]  # three fair bits, and the guide is the posterior
    >>> loss = MuProp().loss_and_grads(pair.model, pair.guide, torch.ones(1, 3))
    >>> bool(pair.encoders[0].layers[-1].bias.grad.abs().max() < 1e-6)  # of one particle: no noise
    True
    """

    num_particles: Scheduled[Count] = 1
    bound: BoundName = "elbo"
    baseline: BaselineName = "moving_average"

    @property
    def predictor(self) -> Baseline:
        return baseline_named(self.baseline, type(self).__name__)

    def _expansion(self, particles: Particles) -> Expansion:
        """F, h and sum_i J_i . mu_i, by a run at the means."""
        around = AtMeans.of(particles, type(self).__name__)
        means = around.along(particles, self._mean)
        deviation = around.along(particles, lambda site: site["value"]) - means.detach()
        return Expansion(around.level, deviation, means)
