"""Reweighted wake-sleep: the model ascends the importance-weighted bound, the guide descends KL(p || q).

    model:          sum_k w~_k d log p(x, z_k)/dtheta                     = d L_K/dtheta, unbiased
    guide, wake:    sum_k w~_k d log q(z_k | x)/dphi                      w~_k = w_k / sum_j w_j, for each datum
    guide, sleep:   d log q(z' | x')/dphi,   (x', z') ~ p(x, z)

``wake`` and ``sleep`` say how much of each the guide takes; see :mod:`ppgen.objectives.wake_sleep`. The wake phase has
a bias of order 1/K, which grows with the guide's distance from the posterior; the sleep phase has none, but is at the
model's data and not at ours. The paper takes both. Any latents will do, without reparameterized samples, relaxations or
baselines; the guide's gradient does not weaken with K. With K = 1 and ``wake=0`` this is ``wake_sleep``.

Bornschein, Bengio: Reweighted Wake-Sleep, ICLR 2015, section 2; Le, Kosiorek, Siddharth, Teh, Wood: Revisiting
Reweighted Wake-Sleep for Models with Stochastic Control Flow, UAI 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppgen.arguments import Count, NonNegative
from ppgen.errors import UsageError
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.wake_sleep import Dreamer
from ppgen.registry import register_objective

__all__ = ["RWS"]


@register_objective(
    "rws",
    summary="reweighted wake-sleep: importance-weighted bound for the model, KL(p || q) for the guide",
    reference="Bornschein and Bengio, Reweighted wake-sleep",
    year=2015,
    link="https://arxiv.org/abs/1406.2751",
    tags=("score function", "discrete", "biased"),
    tiny=lambda: RWS(num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class RWS(Dreamer):
    """Reweighted wake-sleep for ``bound`` with ``num_particles`` (K) particles.

    ``wake`` and ``sleep`` (>= 0, one of them positive): how much of the guide's wake and sleep phase.

    >>> from ppgen.inference import WakeSleep
    >>> RWS(wake=0.5).phases, RWS(num_particles=1, wake=0.0).phases == WakeSleep().phases
    ((0.5, 1.0), True)
    """

    num_particles: Scheduled[Count] = 5
    bound: BoundName = "iwelbo"
    wake: NonNegative = 1.0
    sleep: NonNegative = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wake == self.sleep == 0:
            raise UsageError("wake and sleep of RWS must not both be 0: the guide would learn from neither phase.")

    @property
    def phases(self) -> tuple[float, float]:
        return self.wake, self.sleep
