"""Dense layers with masks, by which an output reads the inputs before its own feature and no others.

Of D features, feature i is drawn as number r_i = 0..D-1. Every hidden unit has a degree m = 0..D-2 and reads features
of rank at most m; so

    a unit of layer 1  reads  feature j             where  r_j <= m
    a unit of layer l  reads  a unit of layer l-1   where  m' <= m
    outputs of i       read   a unit of layer L     where  m' < r_i,    and feature j directly where r_j < r_i

Degrees of layer l are drawn uniformly from the least of layer l - 1 up to D - 2, so that no unit is without inputs.

MADE: Masked Autoencoder for Distribution Estimation. Germain, Gregor, Murray and Larochelle, 2015, eq. 12 to 15.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ppgen.arguments import Count, Sizes, checked
from ppgen.distributions.autoregressive import Conditionals
from ppgen.layers.dense import Activation, glorot, make_activation, start_bias
from ppgen.layers.orders import ranks

__all__ = ["MaskedConditionals", "MaskedMLP", "degrees"]


def degrees(num_features: int, hidden: Sizes, seed: int) -> list[Tensor]:
    """What each hidden unit may read of: the highest rank of a feature, (H_l,) for each layer l, int64.

    >>> [len(one) for one in degrees(5, (8, 4), seed=0)], int(degrees(5, (100,), seed=0)[0].max())
    ([8, 4], 3)
    """
    found, least, last = list[Tensor](), 0, max(num_features - 2, 0)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    for size in hidden:
        found.append(torch.randint(least, last + 1, (size,), generator=generator, device="cpu"))
        least = int(found[-1].min())
    return found


class MaskedMLP(nn.Module):
    """Dense layers whose outputs for a feature read those before it: (..., D) to (..., outputs, D).

    Args:
        num_features: D.
        num_outputs: of a feature.
        hidden: sizes of the hidden layers; ``()``: only direct connections.
        activation: a name in ``ppgen.layers.dense.ACTIVATIONS``, or what makes one.
        direct: whether outputs read features directly, too; without hidden layers they do.
        bias: initial bias of the outputs, (outputs, D); zero if None.

    >>> network = MaskedMLP(3, 1, hidden=())
    >>> network(torch.ones(7, 3), ranks=torch.arange(3), degrees=[]).shape
    torch.Size([7, 1, 3])
    """

    @checked
    def __init__(
        self,
        num_features: Count,
        num_outputs: Count,
        hidden: Sizes = (500,),
        activation: Activation = "relu",
        *,
        direct: bool = True,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        sizes, self.shape = [num_features, *hidden], (num_outputs, num_features)
        layers = [glorot(nn.Linear(below, above)) for below, above in zip(sizes, hidden, strict=False)]
        self.layers: Any = nn.ModuleList(layers)
        self.activation = make_activation(activation)
        self.last: Any = glorot(nn.Linear(sizes[-1], num_outputs * num_features, bias=False)) if hidden else None
        self.direct = None
        if direct or not hidden:
            self.direct = nn.Parameter(torch.zeros(num_outputs, num_features, num_features))
        self.bias = nn.Parameter(torch.zeros(self.shape))
        start_bias(self.bias, bias)

    def forward(self, x: Tensor, ranks: Tensor, degrees: Sequence[Tensor]) -> Tensor:
        """The outputs at x, (..., D), where features are drawn by ``ranks``, (D,), and units read by ``degrees``."""
        ranks, *degrees = map(_as_floats, (ranks, *degrees))
        h, read, outputs = x, ranks, self.bias.flatten()
        for layer, own in zip(self.layers, degrees, strict=True):
            h, read = self.activation(linear(h, layer.weight * (read <= own[:, None]), layer.bias)), own
        if self.last is not None:
            mask = (read < ranks[:, None]).repeat(self.shape[0], 1)  # (outputs * D, H)
            outputs = outputs + linear(h, self.last.weight * mask)
        if self.direct is not None:
            before = self.direct * (ranks < ranks[:, None])  # (outputs, D, D)
            outputs = outputs + linear(x, before.flatten(0, 1))
        found: Tensor = outputs.unflatten(-1, self.shape)
        return found


def _as_floats(numbers: Tensor) -> Tensor:
    """Whole numbers below 2^24, (N,), as float32 of their own place in memory.

    A mask is compared anew wherever it is used. A compiler would read and convert the int64 there, for each entry of
    the mask, which took ten times as long; what is scattered to it keeps.
    """
    places, floats = torch.arange(len(numbers), device=numbers.device), numbers.to(torch.float32)
    return torch.zeros_like(floats).scatter(0, places, floats)


class MaskedConditionals(Conditionals):
    """The laws of features by a masked network, in one order and with one set of masks.

    Args:
        network: whose outputs they are made of; it may serve others.
        law: makes the laws, batch shape (..., D), of outputs (..., outputs, D).
        support: of a feature.
        order: (D,).
        degrees: of the hidden units, (H_l,) for each layer.
    """

    def __init__(
        self,
        network: MaskedMLP,
        law: Callable[[Tensor], Any],
        support: Any,
        order: Tensor,
        degrees: Sequence[Tensor],
    ) -> None:
        super().__init__(order)
        self.network, self.law, self.support, self.degrees = network, law, support, degrees

    def forward(self, x: Tensor) -> Any:
        return self.law(self.network(x, ranks(self.order), self.degrees))
