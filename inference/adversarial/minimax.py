"""The original game: the generator minimises what the critic maximises.

    L_c = -E_data[log D(x)] - E_z[log(1 - D(x'))],        L_g = E_z[log(1 - D(x'))],        D = sigmoid(f)   (nats)

At the optimal critic D = p_data / (p_data + p_g) the value -L_c is 2 JS(p_data || p_g) - log 4, so that the generator
minimises the Jensen-Shannon divergence; the value is -log 4 when p_g = p_data. Where the critic rejects draws with
confidence, the gradient of L_g vanishes with D(x'): see :mod:`ppgen.inference.adversarial.nonsaturating`.

Generative Adversarial Nets, Goodfellow et al., NeurIPS 2014, eq. 1 and theorem 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softplus

from ppgen.objectives.adversarial import Classifier
from ppgen.registry import register_objective

__all__ = ["Minimax"]


@register_objective(
    "minimax",
    summary="adversarial: the original game, Jensen-Shannon at the optimal critic",
    reference="Goodfellow et al., Generative adversarial nets",
    year=2014,
    link="https://arxiv.org/abs/1406.2661",
    tags=("adversarial", "biased"),
    tiny=lambda: Minimax(hidden=(4,), critic_steps=2),
)
@dataclass(frozen=True, kw_only=True)
class Minimax(Classifier):
    """The generator's loss is the expected log-probability of being found out, in nats.

    >>> import torch
    >>> Minimax().generator_loss(torch.zeros(4))  # log 1/2: a critic that cannot tell
    tensor(-0.6931)
    """

    def generator_loss(self, fake: Tensor) -> Tensor:
        return -softplus(fake).mean()

    def exchanged_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return -softplus(-real).mean() - softplus(fake).mean()
