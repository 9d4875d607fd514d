"""The evidence lower bound with its divergences in closed form.

    ELBO(x) = E_q [ log p(x | z) ] - sum_s E_q KL( q(z_s | .) || p(z_s | .) ),

each KL exact given the latents drawn before it, where Pyro has it and the model's distribution of z_s does not depend
on z_s itself through a latent that the guide draws later; the other sites are sampled, as in the ELBO
(:meth:`AnalyticKL.sampled_sites` says which ones and why; a warning does, where none is exact). Same bound, same
unbiased pathwise gradient; at most the variance of the likelihood's part. At least as good as sampling in most models,
but no theorem: where q is the posterior, the sampled form with ``stl`` has variance zero and this one not.

Kingma, Welling: Auto-Encoding Variational Bayes, ICLR 2014, eq. 7 (the second SGVB estimator).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from torch import Tensor

from ppgen.arguments import Count
from ppgen.errors import shown
from ppgen.objectives.bounds import Bound, Reduction
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.divergence import divergences, sampled_sites
from ppgen.pairs.structure import structure_key, untouched
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
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

    def sampled_sites(self, program: Program, batch: Batch) -> dict[str, str]:
        """The latents of a pair whose divergence is sampled, and of each why; empty: all of it is exact.

        >>> import ppgen, torch
        >>> from ppgen.pairs import Program
        >>> pair = ppgen.models.IWAE(ppgen.DataSpec("bits", 4, "binary"))
        >>> AnalyticKL().sampled_sites(Program(pair.model, pair.guide), (torch.ones(2, 4),))
        {'z1': "the model draws it given 'z2', which the guide draws after it"}
        """
        return _looked(program, batch)[0]

    def check(self, program: Program, batch: Batch) -> None:
        super().check(program, batch)
        key = structure_key(program.model)
        sampled, exact = ({}, []) if key in _SAID else _looked(program, batch)
        if sampled and not exact:
            _SAID.add(key)
            sites = "; ".join(f"{shown(name)}, for {why}" for name, why in sampled.items())
            warnings.warn(f"{type(self).__name__} is ELBO here, and samples the divergence of {sites}.", stacklevel=2)

    @property
    def target(self) -> Reduction:
        """The ELBO, whose expectation this has too."""
        return OBJECTIVES["elbo"].cls(num_particles=self.num_particles)  # type: ignore[no-any-return]

    def estimate(self, particles: Particles) -> Tensor:
        divergence = sum(divergences(particles))  # (K, B)
        return (particles.log_likelihood - divergence).mean(0)


_SAID: WeakSet[Any] = WeakSet()
"""Pairs of which it was said that none of their divergences is exact."""


def _looked(program: Program, batch: Batch) -> tuple[dict[str, str], list[str]]:
    """The latents whose divergence is sampled, with why, and those of which it is exact."""
    with untouched(program):
        one = run_particles(program, batch, 1)
        parts = [part for part in (one, one.outside) if part is not None]
        sampled = {name: why for part in parts for name, why in sampled_sites(part).items()}
    return sampled, [name for part in parts for name in part.latents if name not in sampled]
