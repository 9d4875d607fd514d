"""NVIL: the score-function gradient with a baseline that a network learns from x.

    d ELBO/dphi = E (log w - C(x) - c) / max(1, s) d log q(z | x)/dphi,

C a network trained by least squares on log w, c and s^2 the running mean and variance of log w - C(x) - c, taken from
the steps before this one. Neither C nor c sees z: the gradient is unbiased with ``normalise=False``. Division by s
keeps steps even in size while log w ranges over hundreds of nats; it scales the guide's gradient by a positive number,
the same for all of it, and is declared biased. K particles each have the signal (f - f_k) / max(1, s) of
:mod:`ppgen.objectives.discrete.score_function`, for the ELBO or another bound.

C and the pair are trained in one step; Adam moves each parameter by its own scale, so the network needs no rate of its
own. For a guide of several layers the paper has a signal for each; this one is shared by all.

Mnih, Gregor: Neural Variational Inference and Learning in Belief Networks, ICML 2014, section 2.3 and algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppgen.arguments import Count, Share, Sizes
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.discrete.baselines import Baseline, Learned
from ppgen.objectives.discrete.score_function import ScoreFunction
from ppgen.objectives.objective import Scheduled, capability
from ppgen.registry import register_objective

__all__ = ["NVIL"]


@register_objective(
    "nvil",
    summary="score-function gradient with a learned input-dependent baseline and normalised signals",
    reference="Mnih and Gregor, Neural variational inference and learning in belief networks",
    year=2014,
    link="https://arxiv.org/abs/1402.0030",
    tags=("estimator", "score function", "discrete"),
    tiny=lambda: NVIL(num_particles=2, hidden=(4,), normalise=False),
)
@dataclass(frozen=True, kw_only=True)
class NVIL(ScoreFunction):
    """Neural variational inference and learning of ``bound``, with ``num_particles`` (K) particles.

    ``hidden``: sizes of the baseline's tanh layers; ``decay`` of the running mean and variance; ``normalise``: divide
    signals by their standard deviation where it exceeds 1.

    >>> NVIL().unbiased_gradient, NVIL(normalise=False).unbiased_gradient
    (False, True)
    """

    num_particles: Scheduled[Count] = 1
    bound: BoundName = "elbo"
    hidden: Sizes = (100,)
    decay: Share = 0.8
    normalise: bool = True

    @property
    def predictor(self) -> Baseline:
        return Learned(hidden=self.hidden, decay=self.decay, normalise=self.normalise)

    @capability
    def unbiased_gradient(self) -> bool:
        """True unless signals are normalised."""
        return not self.normalise
