"""Double control variates: leave-one-out, with the slopes of the other particles expanding both of its terms.

Let G_j = d log w_j / d z_j be the slope of particle j's log-weight in the states that it drew, log p and log q extended
multilinearly (:mod:`ppgen.pairs.discrete_families`), mu_i = E[z_i | z_<i] the mean of each site, and

    J_k = (1 / (K - 1)) sum_{j != k} G_j,        h_k(z) = J_k . (z - mu(z)),

the first order of log w in what was drawn, by particles that do not see z_k. For one layer and the ELBO, with K >= 2,

    grad = (1/K) sum_k grad log w_k
         + (1/K) sum_k [ log w_k - h_k(z_k)  -  (1 / (K - 1)) sum_{j != k} (log w_j - h_k(z_j)) ] grad log q(z_k)
         + (1/K) sum_k J_k . grad mu.

Without h it is leave-one-out. The first h takes noise off the score's coefficient, and what that takes off the
expectation is the last term, as E[(z - mu) grad log q(z)] = grad mu; the second takes noise off the baseline. Unbiased,
since h_k sees the others alone; without noise in the guide's gradient where log w is linear in z. Titsias and Shi have
in the baseline of k the slope at z_k for K = 2, and means of slopes that may hold it for K > 2, which is unbiased where
the bound is linear in the baseline; here none sees z_k, so that any bound of K particles may be taken, as
:mod:`ppgen.objectives.discrete.expansions` says, with f_k at b_k = (1 / (K - 1)) sum_{j != k} (log w_j - h_k(z_j)).
Layers and reparameterized latents beside: as there. Bernoulli and one-hot categorical latents.

It costs no further run: the slopes are those of the run that is there. They are good where log w bends little over a
step from one state to another, as in the binary belief networks and autoencoders of the paper; where it bends more
than it slopes, they are off at the other state, and leaving one out alone has less noise. (Variances of 0.090 against
1.02 on a belief network of 2 units at K = 2, 0.41 against 0.78 in two layers; 16 against 3.2 with two units of three
classes that move the mean of a normal x, whose log-density is a parabola in them.)

Titsias, Shi: Double Control Variates for Gradient Estimation in Discrete Latent Variable Models, AISTATS 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.discrete.baselines import Baseline, NoBaseline
from ppgen.objectives.discrete.coupled_draws import Movable, slopes_of
from ppgen.objectives.discrete.expansions import Expanded
from ppgen.objectives.discrete.score_function import Expansion
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.tracing import Batch, Draw, Particles, Program
from ppgen.registry import register_objective

__all__ = ["DoubleCV"]


@register_objective(
    "double_cv",
    summary="leave-one-out, with the slopes of log w at the other particles as a second control variate",
    reference="Titsias and Shi, Double control variates for gradient estimation in discrete latent variable models",
    year=2022,
    link="https://arxiv.org/abs/2111.05300",
    tags=("estimator", "score function", "discrete"),
    tiny=lambda: DoubleCV(),
)
@dataclass(frozen=True, kw_only=True)
class DoubleCV(Expanded):
    """Double control variates for ``bound`` with ``num_particles`` (K >= 2) particles.

    >>> import ppgen
    >>> pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,))
    >>> DoubleCV(num_particles=4).target, DoubleCV().min_particles
    (ELBO(num_particles=4), 2)
    >>> loss = DoubleCV().loss_and_grads(pair.model, pair.guide, torch.ones(5, 3))
    """

    min_particles = 2

    num_particles: Scheduled[Count] = 2
    bound: BoundName = "elbo"

    @property
    def predictor(self) -> Baseline:
        return NoBaseline()

    def drawn_by(self) -> Draw:
        return Movable(type(self).__name__)

    def draw(self, program: Program, batch: Batch, draw: Draw | None = None) -> Particles:
        with torch.enable_grad():
            return super().draw(program, batch, draw)

    def _expansion(self, particles: Particles) -> Expansion:
        """b_k, h_k and J_k . mu, by the slopes at the states that were drawn."""
        sites, num = [particles.guide_sites[name] for name in particles.scored], particles.num_particles
        with torch.enable_grad():
            slopes = list(slopes_of(particles).values())
        slope = self._side_by_side(particles, slopes)  # (K, B, F)
        others = (slope.sum(0) - slope) / (num - 1)
        means = self._side_by_side(particles, [self._mean(site) for site in sites])
        values = self._side_by_side(particles, [site["value"].detach() for site in sites])
        off = values - means.detach()
        left = particles.log_w.detach() - torch.einsum("kbf,jbf->kjb", others, off)  # (K, K, B): of j by k's slope
        level = (left.sum(1) - left.diagonal().mT) / (num - 1)  # (K, B)
        return Expansion(level, (others * off).sum(-1), (others * means).sum(-1))
