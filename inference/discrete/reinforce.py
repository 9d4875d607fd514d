"""REINFORCE: the score-function gradient of a bound, with one of three baselines.

For the ELBO with K particles,

    d/dphi ELBO = E (1/K) sum_k (log w_k - b_k) d log q(z_k | x)/dphi,        d/dtheta as ever,

unbiased for any baseline b_k that does not see z_k: 0 (``none``), a running mean of earlier steps
(``moving_average``), or the mean of the other particles (``leave_one_out``, which needs K >= 2, learns nothing and
has variance zero at the exact posterior). Other bounds of several particles, and pairs with reparameterized latents
besides: :mod:`ppgen.objectives.discrete.score_function`. With ``bound="iwelbo"``, ``leave_one_out`` is VIMCO with a
    centred signal.

Any discrete latent will do (Bernoulli, categorical, Poisson): only log q is read.

Williams: Simple Statistical Gradient-Following Algorithms, Machine Learning 1992, theorem 1; Paisley, Blei, Jordan:
Variational Bayesian Inference with Stochastic Search, ICML 2012; leave-one-out: Kool, van Hoof, Welling: Buy 4
REINFORCE Samples, Get a Baseline for Free, ICLR workshop 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.discrete.baselines import Baseline, BaselineName, baseline_named
from ppgen.objectives.discrete.score_function import ScoreFunction
from ppgen.objectives.objective import Scheduled
from ppgen.registry import register_objective

__all__ = ["REINFORCE"]


@register_objective(
    "reinforce",
    summary="score-function gradient: no baseline, a running mean, or leave-one-out",
    reference="Williams, Simple statistical gradient-following algorithms for connectionist reinforcement learning",
    year=1992,
    link="https://doi.org/10.1007/BF00992696",
    tags=("estimator", "score function", "discrete"),
    tiny=lambda: REINFORCE(num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class REINFORCE(ScoreFunction):
    """The score-function gradient of ``bound`` with ``num_particles`` (K) particles.

    ``baseline``: a name in ``ppgen.objectives.discrete.baselines.BASELINES``, or a baseline.

    >>> import math, ppgen, torch
    >>> pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,))
    >>> _ = [torch.nn.init.zeros_(p) for p in pair.parameters()]  # three fair bits, and the guide is the posterior
    >>> loss = REINFORCE().loss_and_grads(pair.model, pair.guide, torch.ones(1, 3))
    >>> round(loss / math.log(2), 4), pair.encoders[0].layers[-1].bias.grad  # no noise
    (3.0, tensor([0., 0.]))
    """

    num_particles: Scheduled[Count] = 2
    bound: BoundName = "elbo"
    baseline: BaselineName = "leave_one_out"

    @property
    def predictor(self) -> Baseline:
        return baseline_named(self.baseline, type(self).__name__)
