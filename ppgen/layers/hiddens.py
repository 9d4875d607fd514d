"""The hidden units of a restricted Boltzmann machine: bits given their logits, or sums of bits that share one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.arguments import one_of
from ppgen.errors import UsageError
from ppgen.layers.visibles import draw_binary

__all__ = ["COPIES", "UNITS", "HiddenLayer", "hidden_layer"]

UNITS = ("binary", "rectified")

COPIES = 10
"""Bits of a rectified unit, unless another number is given."""


class HiddenLayer(nn.Module):
    """H hidden units, each the number of its N bits that are on: (..., H) logits, shared by bits, and (..., H N) bits.

        p(bit i of unit j = 1) = sigmoid(logit_j + prior_i)

    Args:
        num: H.
        prior: (N,), the bits' logits where nothing else acts on them; None: one fair bit a unit.
    """

    prior: Tensor | None

    def __init__(self, num: int, prior: Tensor | None = None) -> None:
        super().__init__()
        self.num = num
        self.num_bits = num if prior is None else num * len(prior)
        self.register_buffer("prior", prior, persistent=False)

    def bit_logits(self, logits: Tensor) -> Tensor:
        """(..., H) -> (..., H N)."""
        return logits if self.prior is None else (logits.unsqueeze(-1) + self.prior).flatten(-2)

    def log_partition(self, logits: Tensor) -> Tensor:
        """The log of the sum over all bits, (..., H) -> (...,), in nats."""
        return softplus(self.bit_logits(logits)).sum(-1)

    def values(self, bits: Tensor) -> Tensor:
        """What each unit is, (..., H N) -> (..., H)."""
        return bits if self.prior is None else bits.unflatten(-1, (self.num, -1)).sum(-1)

    def own(self, bits: Tensor) -> Tensor:
        """The part of log p~ that is the bits' own, (..., H N) -> (...,), in nats."""
        if self.prior is None:
            return bits.new_zeros(bits.shape[:-1])
        own: Tensor = (bits.unflatten(-1, (self.num, -1)) * self.prior).sum((-1, -2))
        return own

    def means(self, logits: Tensor) -> Tensor:
        """E of each unit's value, (..., H) -> (..., H)."""
        return self.values(self.bit_logits(logits).sigmoid())

    def sample(self, logits: Tensor) -> Tensor:
        """One draw of every bit, (..., H) -> (..., H N)."""
        return draw_binary(self.bit_logits(logits))


def hidden_layer(num: int, units: str = "binary", copies: int | None = None) -> HiddenLayer:
    """H units of a kind.

    A ``rectified`` unit (Nair and Hinton 2010) stacks N sigmoids that share its logit x, with biases -1/2, -3/2, ...:

        E[u] = sum_{i=1}^N sigmoid(x - i + 1/2)  ->  log(1 + e^x),        N to infinity

    It is a count from 0 to N here, and no normal draw about max(0, x), which is their approximation: the energy stays
    finite and every sum over hidden units exact. It is the rectified unit up to x of about N - 1, and then saturates.

    Raises:
        UsageError: an unknown kind, or copies of binary units.
    """
    one_of("expected a kind of hidden units, got", units, UNITS)
    if units == "binary":
        if copies is not None:
            raise UsageError(f"copies are those of a rectified unit, got {copies} and binary units: leave them out.")
        return HiddenLayer(num)
    return HiddenLayer(num, 0.5 - torch.arange(1.0, 1 + (copies or COPIES)))
