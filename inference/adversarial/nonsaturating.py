"""The non-saturating game: the generator maximises the critic's error rather than minimising its success.

    L_c = -E_data[log D(x)] - E_z[log(1 - D(x'))],        L_g = -E_z[log D(x')],        D = sigmoid(f)   (nats)

L_g has the minimax game's fixed point and a gradient that does not vanish where draws are rejected. At the optimal
critic it is that of KL(p_g || p_data) - 2 JS(p_data || p_g) (Arjovsky and Bottou 2017, theorem 2.5): the reverse KL
forgives a generator that leaves modes out.

Generative Adversarial Nets, Goodfellow et al., NeurIPS 2014, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppgen.objectives.adversarial import Classifier
from ppgen.registry import register_objective

__all__ = ["NonSaturating"]


@register_objective(
    "nonsaturating",
    summary="adversarial: the usual GAN loss, whose gradient does not vanish where draws are rejected",
    reference="Goodfellow et al., Generative adversarial nets",
    year=2014,
    link="https://arxiv.org/abs/1406.2661",
    tags=("adversarial", "biased"),
    tiny=lambda: NonSaturating(hidden=(4,), smoothing=0.1),
)
@dataclass(frozen=True, kw_only=True)
class NonSaturating(Classifier):
    """The generator's loss is minus the expected log-probability of passing for data, in nats.

    >>> import torch
    >>> NonSaturating().critic_loss(torch.zeros(4), torch.zeros(4))  # log 4: a critic that cannot tell
    tensor(1.3863)
    """
