"""Wake-sleep: the model learns from the guide's draws, the guide from the model's dreams.

    wake, model:    d log p(x, z)/dtheta,     z ~ q(z | x)             = d ELBO/dtheta, unbiased
    sleep, guide:   d log q(z' | x')/dphi,    (x', z') ~ p(x, z)

Its value is the ELBO. The guide descends E_p(x') KL(p(z | x') || q), not the KL(q || p) of the bound: no gradient goes
through a draw, so that any latents will do, and the two phases need not lower one common loss. Both phases are one loss
here and one step (:mod:`ppgen.objectives.wake_sleep`): as they share no parameters, that is the alternation at equal
rates. The sigmoid belief network trained this way is the Helmholtz machine.

Hinton, Dayan, Frey, Neal: The Wake-Sleep Algorithm for Unsupervised Neural Networks, Science 1995.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.wake_sleep import Dreamer
from ppgen.registry import register_objective

__all__ = ["WakeSleep"]


@register_objective(
    "wake_sleep",
    summary="wake-sleep: the guide learns from the model's dreams",
    reference="Hinton, Dayan, Frey and Neal, The wake-sleep algorithm for unsupervised neural networks",
    year=1995,
    link="https://doi.org/10.1126/science.7761831",
    tags=("score function", "discrete", "biased"),
    tiny=lambda: WakeSleep(num_particles=2),
)
@dataclass(frozen=True, kw_only=True)
class WakeSleep(Dreamer):
    """Wake-sleep with ``num_particles`` (K) draws a datum in the wake phase, and one dream in the sleep phase.

    >>> import ppgen, torch
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.zeros(4, 3)
    >>> pair.set_exact_guide()
    >>> loss = WakeSleep().differentiable_loss(pair.model, pair.guide, x)  # its value is the ELBO's
    >>> torch.allclose(-loss, pair.log_evidence(x).sum())
    True
    """

    num_particles: Scheduled[Count] = 1
    bound: BoundName = "elbo"

    @property
    def phases(self) -> tuple[float, float]:
        return 0.0, 1.0
