"""Sequences of symbols of a finite alphabet, of different lengths in one tensor.

    x = (x_1, ..., x_n, -1, ..., -1),        x_t in 0..V-1,        n <= T

x is (..., T), whole numbers in torch's floating-point types, as counts are, so that one type goes through a training;
``x.long()`` are indices. What is beyond a sequence's end is ``END``: the mask and the lengths are read off x.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

__all__ = ["END", "lengths", "predecessors", "present"]

END = -1
"""Stands in every place after the last symbol."""


def present(x: Tensor) -> Tensor:
    """Which places hold a symbol: (..., T), bool.

    >>> import torch
    >>> present(torch.tensor([[2.0, 0.0, -1.0]]))
    tensor([[ True,  True, False]])
    """
    return x > END


def lengths(x: Tensor) -> Tensor:
    """n of sequences (..., T): (...,), int64."""
    return present(x).sum(-1)


def predecessors(x: Tensor, num_symbols: int) -> tuple[Tensor, Tensor]:
    """The symbols of x, (..., T), and what each follows, V at the start, as indices; after the end any.

    >>> import torch
    >>> predecessors(torch.tensor([[2.0, 0.0, -1.0]]), 3)
    (tensor([[2, 0, 0]]), tensor([[3, 2, 0]]))
    """
    symbols = x.long().clamp_min(0)
    return symbols, pad(symbols[..., :-1], (1, 0), value=num_symbols)
