"""OVIS: the score's coefficient of the importance-weighted bound, less its mean over what its particle might have been.

With f the bound of K particles, v_k = df / d log w_k, and everything else differentiated at the drawn states,

    grad = grad f + sum_k (f - v_k - c_k) grad log q(z_k),        c_k any function of the other particles.

The c_k that makes the variance least is a mean of f - v_k over z_k, each weighted by its squared score; where scores
are many, or log w says little of them, that is E[f - v_k | z_-k]. It is taken from S *auxiliary* particles z'_s, each
of which stands in the place of every particle in turn,

    c_k = (1/S) sum_s ( f - v_k )(z_1, ..., z'_s, ..., z_K),

which sees no z_k: unbiased, at any S. It centres f - v_k whole, so that the guide's signal-to-noise ratio grows as
sqrt(K), where with VIMCO's c_k, which knows nothing of v_k, it falls. Any bound of K particles may be taken; for the
ELBO c_k is the mean of log w over the auxiliary particles. It costs K + S runs, and takes S K bounds of K numbers. The
auxiliary particles serve the control alone. (The paper's asymptotic control, without them, holds v_k itself, which sees
z_k, and is biased at any K; ``vimco(centred=True)`` is the like of it without that bias.)

Any discrete latent will do (Bernoulli, categorical, Poisson), and reparameterized ones beside.

Lievin, Dittadi, Christensen, Winther: Optimal Variance Control of the Score-Function Gradient Estimator for
Importance-Weighted Bounds, NeurIPS 2020, eq. 12 (OVIS-MC).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.discrete.baselines import Baseline, NoBaseline
from ppgen.objectives.discrete.score_function import Expansion, ScoreFunction
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.parameters import kept_buffers
from ppgen.pairs.tracing import Particles, run_particles
from ppgen.registry import register_objective

__all__ = ["OVIS"]


@register_objective(
    "ovis",
    summary="importance-weighted bound, score-function gradient centred by auxiliary particles",
    reference="Lievin et al., Optimal variance control of the score-function gradient estimator",
    year=2020,
    link="https://arxiv.org/abs/2008.01998",
    tags=("estimator", "score function", "discrete"),
    tiny=lambda: OVIS(num_particles=2, auxiliary=2),
)
@dataclass(frozen=True, kw_only=True)
class OVIS(ScoreFunction):
    """OVIS-MC for ``bound`` with ``num_particles`` (K) particles and ``auxiliary`` (S) beside them.

    >>> import ppgen
    >>> pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,))
    >>> _ = [torch.nn.init.zeros_(p) for p in pair.parameters()]  # three fair bits, and the guide is the posterior
    >>> loss = OVIS().loss_and_grads(pair.model, pair.guide, torch.ones(1, 3))
    >>> bool(pair.encoders[0].layers[-1].bias.grad.abs().max() < 1e-6)  # no noise
    True
    """

    splits_particles = False  # its stand-ins are drawn for all particles at once

    num_particles: Scheduled[Count] = 5
    bound: BoundName = "iwelbo"
    auxiliary: Scheduled[Count] = 5

    @property
    def predictor(self) -> Baseline:
        return NoBaseline()

    def _ascent(self, particles: Particles, expansion: Expansion, predicted: Tensor, unit: Tensor | float) -> Tensor:
        log_w = particles.log_w.detach()
        stand_ins = self._auxiliary(particles)[:, None].expand(-1, *log_w.shape)  # (S, K, B)
        signals = torch.stack([self.signal(log_w, one) for one in stand_ins])
        return (signals.mean(0) * particles.log_q_of(particles.scored)).sum()

    @torch.no_grad()
    def _auxiliary(self, particles: Particles) -> Tensor:
        """Log-weights (S, B) of draws of their own."""
        program, auxiliary = particles.program, cast(int, self.auxiliary)  # held at a step
        with kept_buffers(program.model, program.guide):
            return run_particles(program, particles.batch, auxiliary).log_w
