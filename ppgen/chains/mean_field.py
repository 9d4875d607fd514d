"""The mean field of layers of binary units, each joined with the next: fixed points, datum by datum.

    q(h) = prod_k Bernoulli(m_k),        m_k = sigmoid(c_k + m_{k-1} W_k + m_{k+1} W_{k+1}'),        k = 1, ..., L

Units of a layer are not joined, so that layers 1, 3, ... are independent given layers 2, 4, ...: a round sets the odd
ones to what the even ones ask for, then the even ones. Each half is the exact maximum of the bound given the other, and
the bound rises from round to round; nothing needs damping. Means start from the bottom up, each layer at what the one
below asks for. A datum is left as it is once no mean of it has moved by more than a tolerance in a round.

Within a step's graph it is one operator, whatever the number of rounds; it has no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["layered_means"]


def layered_means(
    bottom: Tensor, biases: Sequence[Tensor], weights: Sequence[Tensor], tolerance: float, rounds: int
) -> tuple[Tensor, ...]:
    """The means m_1, ..., m_L, (..., H_k) each, without a gradient.

    Args:
        bottom: the part of layer 1's logits that no hidden unit has, c_1 and what is below, (..., H_1).
        biases: c_2, ..., c_L, (H_k,), or (..., H_k) where they differ from datum to datum.
        weights: W_2, ..., W_L, (H_{k-1}, H_k).
        tolerance: how far any mean of a datum may have moved in the last round.
        rounds: at most.
    """
    with torch.no_grad():
        m = torch.ops.ppgen.layered_means(bottom, list(biases), list(weights), tolerance, rounds)
    means: tuple[Tensor, ...] = m.split([bottom.shape[-1], *(weight.shape[1] for weight in weights)], -1)
    return means


def _means(bottom: Tensor, biases: list[Tensor], weights: list[Tensor], tolerance: float, rounds: int) -> Tensor:
    fields = [bottom, *biases]
    m = [bottom.sigmoid()]
    for field, weight in zip(biases, weights, strict=True):
        m.append((field + m[-1] @ weight).sigmoid())
    moving = torch.ones_like(bottom[..., :1], dtype=torch.bool)
    for _ in range(rounds):
        new = _round(fields, weights, m)
        change = torch.stack([(a - b).abs().amax(-1, keepdim=True) for a, b in zip(new, m, strict=True)]).amax(0)
        m = [torch.where(moving, a, b) for a, b in zip(new, m, strict=True)]
        moving = moving & (change > tolerance)
        if not moving.is_cuda and not bool(moving.any()):  # a graph of a GPU's work cannot ask
            break
    return torch.cat(m, -1)


def _round(fields: list[Tensor], weights: list[Tensor], m: list[Tensor]) -> list[Tensor]:
    m = list(m)
    for first in (0, 1):
        for k in range(first, len(m), 2):
            logits = fields[k]
            if k > 0:
                logits = logits + m[k - 1] @ weights[k - 1]
            if k < len(weights):
                logits = logits + m[k + 1] @ weights[k].T
            m[k] = logits.sigmoid()
    return m


def _shape_of_means(
    bottom: Tensor, biases: list[Tensor], weights: list[Tensor], tolerance: float, rounds: int
) -> Tensor:
    units = bottom.shape[-1] + sum(weight.shape[1] for weight in weights)
    return bottom.new_empty((*bottom.shape[:-1], units))


_LIBRARY = torch.library.Library("ppgen", "FRAGMENT")
_LIBRARY.define(
    "layered_means(Tensor bottom, Tensor[] biases, Tensor[] weights, float tolerance, int rounds) -> Tensor"
)
_LIBRARY.impl("layered_means", _means, "CompositeExplicitAutograd")
torch.library.register_fake("ppgen::layered_means", _shape_of_means, lib=_LIBRARY)
