"""The estimator with the least work, measured as training goes on.

    work_i = (E |g_i|^2)^(1/2) seconds_i,     E |g_i|^2 = |E g|^2 + tr Cov(g_i),     estimator i of one bound's gradient

g_i is its gradient of the loss per datum by the pair's parameters, at one batch of training data and one draw; the
expectation is over both. Adam, and all that divide by the root of a mean square, take steps a of the same length under
each: -a g_i / (E |g_i|^2)^(1/2). To first order such a step lowers the loss by a |E g|^2 / (E |g_i|^2)^(1/2) in
expectation, and a second of them by a |E g|^2 / work_i, of which a and E g are the same for all. The signal |E g|^2 and
the noise of which data came into the batch are in every E |g_i|^2: an estimator that is quieter than these gains little
by it, and where they are most of it the quickest is played. (Stochastic gradient descent whose step size is the best
for each estimator goes by E |g_i|^2 seconds_i instead; with Adam that rule takes the quieter and slower too early.)

Value and gradient are those of the estimator that is played. Every ``every`` steps each is drawn ``draws`` times at the
batches that come next, of which nothing is moved, and the one with the least work is played from then on, if it saves
the share ``hysteresis`` of the work of the one before. Bias: that of the estimators, none unless ``biased``.

A run that is stopped and goes on makes the same choices: the seconds of each, those of the quickest of eight gradients
in turns, are measured once, first, and kept, and covariances are those of the run's own seed. Two runs may choose
differently, as the machine is busy or not.

Geffner and Domke: A Rule for Gradient Estimator Selection, with an Application to Variational Inference, 2020: the rule
"least G^2 T" of stochastic gradient descent; that of steps of one length is derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Len
from pydantic import BeforeValidator

from ppgen.arguments import Count, Share, Words
from ppgen.errors import UsageError
from ppgen.objectives.bounds import Bound
from ppgen.objectives.choosing import Choosing, EstimatorName
from ppgen.objectives.named import label_of, listed
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["Auto"]


@register_objective(
    "auto",
    summary="several estimators of one bound, of which training plays the one with the least root mean square x time",
    reference="Geffner and Domke, A rule for gradient estimator selection",
    year=2020,
    link="https://arxiv.org/abs/1911.01894",
    tags=("estimator",),
    tiny=lambda: Auto(estimators=("elbo", "stl")),
)
@dataclass(frozen=True, kw_only=True)
class Auto(Choosing):
    """The estimator with the least work of several.

    Args:
        estimators: two or more of one bound, as a list or as text:
            ``-O "estimators=reinforce(num_particles=4), disarm"``; the default is for reparameterized latents.
        every: steps from one measurement to the next.
        draws: gradients of each at a measurement.
        hysteresis: share of the work that another must save to be taken.
        biased: whether estimators may be biased.

    Raises:
        UsageError: estimators of different bounds, of none, biased ones, or fewer than two.

    >>> import ppgen, torch
    >>> auto = Auto(estimators="elbo(num_particles=2), stl")
    >>> auto.names, auto.unbiased_gradient
    (('elbo(num_particles=2)', 'stl'), True)
    """

    estimators: Annotated[
        tuple[EstimatorName, ...],
        BeforeValidator(listed),
        Words("two or more estimators such as ('reinforce', 'disarm')"),
        Len(2),
    ] = ("elbo", "stl")
    every: Count = 1000
    draws: Annotated[int, Ge(2)] = 4
    hysteresis: Share = 0.1
    biased: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.biased and not self.unbiased_gradient:
            name = next(n for n, rule in zip(self.names, self.rules, strict=True) if not rule.unbiased_gradient)
            raise UsageError(
                f"Auto chooses among unbiased estimators, and {name} is biased, which no variance shows: drop it, or "
                "say biased=True."
            )

    @property
    def rules(self) -> tuple[Bound, ...]:
        return tuple(OBJECTIVES[one].cls() if isinstance(one, str) else one for one in self.estimators)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(label_of, self.rules))
