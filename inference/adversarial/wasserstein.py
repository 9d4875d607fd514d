"""The Wasserstein distance by its dual, over critics whose weights are bounded.

    L_c = E_z[f(x')] - E_data[f(x)],        L_g = -E_z[f(x')],        every weight and bias of f in (-c, c)

The supremum of -L_c over 1-Lipschitz f is W_1(p_data, p_g). Bounded weights make f K-Lipschitz for some K that depends
on c and on the layers: -L_c estimates at most K W_1, in units nobody knows.

The paper clips weights to [-c, c] after each step, outside of the gradient. Here the bound is a part of the critic,
w = c tanh(v) with v free, which has the same critics but for the boundary, is differentiable, so that an unrolled step
keeps to it too, and lets Adam take its steps in v.

Wasserstein Generative Adversarial Networks, Arjovsky, Chintala and Bottou, ICML 2017, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from ppgen.arguments import Positive
from ppgen.objectives.adversarial import Dual
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
    """``clip``: c.

    >>> import ppgen, torch
    >>> pair = ppgen.models.GAN(ppgen.DataSpec("numbers", 3, "real"))
    >>> critic = Wasserstein(clip=0.01).parameters(pair, (torch.zeros(5, 3),))
    >>> bool(critic.network.layers[0].weight.abs().max() < 0.01)
    True
    """

    unit: ClassVar[str] = ""

    clip: Positive = 0.01

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        critic = super().parameters(pair, batch)
        for module in list(critic.modules()):
            for name, _ in list(module.named_parameters(recurse=False)):
                register_parametrization(module, name, _Bounded(self.clip))
        return critic
