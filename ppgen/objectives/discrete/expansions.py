"""Score-function gradients with an expansion of log w to first order as control variate.

Let J_i be any slopes for the discrete sites z_1, ..., z_L of a particle that do not see the particle itself, and
mu_i = E[z_i | z_<i] at the z_<i that were drawn. With

    h = sum_i J_i . (z_i - mu_i),        E[ h sum_i grad log q(z_i | z_<i) ] = E sum_i J_i . grad mu_i,              (1)

since given z_<i, E[z_i - mu_i] = 0 and E[(z_i - mu_i) grad log q(z_i | z_<i)] = grad mu_i with z_<i held fixed: the
terms j < i of h, known before z_i is drawn, and those j > i, of mean zero once it is, add nothing to the i-th score. So
h may be taken off log w in the learning signal, if the right side is added. For a bound f of K particles, with f_k and
v_k,k as in :mod:`ppgen.objectives.discrete.score_function`, the coefficient of particle k has f_k + v_k,k h_k taken
off, and sum_i v_k,k J_i . grad mu_i is added.

Gu, Levine, Sutskever, Mnih: MuProp: Unbiased Backpropagation for Stochastic Neural Networks, ICLR 2016.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.objectives.discrete.score_function import Expansion, ScoreFunction, without_own
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.sites import Site, per_datum
from ppgen.pairs.tracing import Particles

__all__ = ["Expanded"]


@dataclass(frozen=True, kw_only=True)
class Expanded(ScoreFunction, ABC):
    """A score-function gradient whose learning signal has (1) taken off.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`_expansion`; 3. register it.

    Raises:
        UsageError: when the pair is run: a latent without a reparameterized sample is neither Bernoulli nor
            OneHotCategorical, there is none, or it stands outside the data plate.
    """

    splits_particles = False  # it expands log w in the sites of each particle

    @abstractmethod
    def _expansion(self, particles: Particles) -> Expansion:
        """The level of log w, h and sum_i J_i . mu_i."""

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        for name in particles.scored:
            self._mean(particles.guide_sites[name])

    def _ascent(self, particles: Particles, expansion: Expansion, predicted: Tensor, unit: Tensor | float) -> Tensor:
        _, weights = without_own(self.reduction, particles.log_w.detach(), predicted)
        score = particles.log_q_of(particles.scored)
        corrected = weights * (expansion.means - expansion.deviation / unit * score)  # (K, B)
        return super()._ascent(particles, expansion, predicted, unit) + corrected.sum()

    def _mean(self, site: Site) -> Tensor:
        """mu_i, of the shape of the site's value, with its gradient."""
        return family_of(site, type(self).__name__).mean(site["fn"])

    def _side_by_side(self, particles: Particles, numbers: Sequence[Tensor]) -> Tensor:
        """Numbers of the discrete sites, each of the shape of its value, (K, B, F)."""
        sites = (particles.guide_sites[name] for name in particles.scored)
        each = zip(sites, numbers, strict=True)
        return torch.cat([per_datum(site, particles.plate, part) for site, part in each], -1)
