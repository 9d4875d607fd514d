"""VIMCO: the importance-weighted bound for discrete latents, with a signal for each particle from the others.

    L_K(x) = E log (1/K) sum_j w_j,

    d L_K/dphi = E sum_k [ L - L_k ] d log q(z_k | x)/dphi + sum_k w~_k d log w_k/dphi,
    L = log (1/K) sum_j w_j,        L_k: the same with w_k replaced by the others' mean,

unbiased, as L_k does not see z_k: what remains of the signal is what z_k adds to the bound. The mean is the geometric
one, or with ``arithmetic`` the arithmetic one. The signal-to-noise ratio of the guide's gradient falls as K grows,
because w~_k d log q(z_k)/dphi is noise of size 1/K where the signal is of size 1/K^2. With ``centred`` that noise is
taken out (eq. 2 of :mod:`ppgen.objectives.discrete.score_function`), at the same expectation and cost, and the ratio
rises instead, once K is large against the spread of the weights; while one particle has nearly all of it, nothing
changes. The bound may be any other; centred, with ``bound="elbo"``, this is leave-one-out REINFORCE.

Mnih, Rezende: Variational Inference for Monte Carlo Objectives, ICML 2016 (local learning signals, with both means).
"""

from __future__ import annotations

from dataclasses import dataclass

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.discrete.baselines import Baseline, LeaveOneOut
from ppgen.objectives.discrete.score_function import ScoreFunction
from ppgen.objectives.objective import Scheduled
from ppgen.registry import register_objective

__all__ = ["VIMCO"]


@register_objective(
    "vimco",
    summary="importance-weighted bound, score-function gradient with a leave-one-out signal",
    reference="Mnih and Rezende, Variational inference for Monte Carlo objectives",
    year=2016,
    link="https://arxiv.org/abs/1602.06725",
    tags=("estimator", "score function", "discrete"),
    tiny=lambda: VIMCO(num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class VIMCO(ScoreFunction):
    """The leave-one-out gradient of ``bound``, with ``num_particles`` (K >= 2) particles.

    ``arithmetic``: the others' arithmetic mean instead of the geometric; ``centred``: see the module.

    >>> VIMCO(num_particles=8).target, VIMCO(num_particles=8, bound="renyi").target
    (IWELBO(num_particles=8), Renyi(num_particles=8, alpha=0.5))
    """

    num_particles: Scheduled[Count] = 5
    bound: BoundName = "iwelbo"
    centred: bool = False
    arithmetic: bool = False

    @property
    def predictor(self) -> Baseline:
        return LeaveOneOut(arithmetic=self.arithmetic)
