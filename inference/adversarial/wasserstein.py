"""The Wasserstein distance by its dual, over critics whose weights are bounded.

    L_c = E_z[f(x')] - E_data[f(x)],        L_g = -E_z[f(x')],        every weight and bias of f in (-c, c)

The supremum of -L_c over 1-Lipschitz f is W_1(p_data, p_g). Bounded weights make f K-Lipschitz for some K that depends
on c and on the layers: -L_c estimates at most K W_1, in units nobody knows.

Two ways to bound them:

    clipped=True     w <- min(max(w, -c), c) after each step of the critic, outside of the gradient: weight clipping, as
                     Arjovsky, Chintala and Bottou propose it (algorithm 1, line 7, c = 0.01)
    clipped=False    w = c tanh(v), v free: this library's own, and nobody's proposal. The same critics but for the
                     boundary; the bound is a part of the critic, differentiable, and Adam takes its steps in v

Clipped weights end at -c or c for the most part (Gulrajani et al. 2017, section 3.2), where a step outwards is lost.

Wasserstein Generative Adversarial Networks, Arjovsky, Chintala and Bottou, ICML 2017, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from ppgen.arguments import Positive
from ppgen.errors import UsageError
from ppgen.objectives.adversarial import Dual
from ppgen.objectives.turns import Player
from ppgen.pairs.tracing import Batch
from ppgen.registry import register_objective

__all__ = ["Wasserstein"]


class _Bounded(nn.Module):
    """v to c tanh(v)."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, free: Tensor) -> Tensor:
        return self.bound * free.tanh()


@register_objective(
    "wasserstein",
    summary="adversarial: the Wasserstein distance over critics with bounded weights",
    reference="Arjovsky, Chintala and Bottou, Wasserstein generative adversarial networks",
    year=2017,
    link="https://arxiv.org/abs/1701.07875",
    tags=("adversarial", "biased"),
    tiny=lambda: Wasserstein(hidden=(4,), clip=0.5),
)
@dataclass(frozen=True, kw_only=True)
class Wasserstein(Dual):
    """``clip``: c; ``clipped``: weights are clipped after each step, as in the paper, rather than bounded by tanh.

    >>> import ppgen, torch
    >>> pair = ppgen.models.GAN(ppgen.DataSpec("numbers", 3, "real"))
    >>> critic = Wasserstein(clip=0.01).parameters(pair, (torch.zeros(5, 3),))
    >>> bool(critic.network.layers[0].weight.abs().max() < 0.01)
    True
    """

    unit: ClassVar[str] = ""

    clip: Positive = 0.01
    clipped: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spectral_norm:
            raise UsageError(
                "wasserstein bounds the critic's weights by clip, and spectral_norm by their singular values: leave "
                "spectral_norm out, or take another loss, such as 'hinge'."
            )

    def players(self) -> tuple[Player, ...]:
        critic, generator = super().players()
        return (replace(critic, bound=self.clip) if self.clipped else critic, generator)

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        critic = super().parameters(pair, batch)
        if self.clipped:
            with torch.no_grad():
                for weight in critic.parameters():
                    weight.clamp_(-self.clip, self.clip)
            return critic
        for module in list(critic.modules()):
            for name, _ in list(module.named_parameters(recurse=False)):
                register_parametrization(module, name, _Bounded(self.clip))
        return critic
