"""When two results count as the same: rounding apart, and where gradients are missing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["apart", "close", "disagreement", "or_zeros"]


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference between two results."""
    return float((found - expected).detach().abs().max())


def close(found: Tensor, expected: Tensor, slack: float = 1000.0) -> Tensor:
    """Where two results of the same sums agree, up to ``slack`` roundings of numbers of this size (at least 1)."""
    eps = torch.finfo(expected.dtype).eps if expected.dtype.is_floating_point else 0.0
    same = found.isclose(expected, rtol=slack * eps, atol=slack * eps, equal_nan=True)
    return torch.as_tensor(same)


def disagreement(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 1e-3) -> str | None:
    """The first entry that is off by more than ``tolerance``; None if all agree.

    The first entry is a value, off relative to itself; the others are gradients, off relative to the largest of all:
    what rounding leaves where large terms cancel is no difference.
    """
    value, *gradients = expected
    largest = max((float(expected[name].abs().max()) for name in gradients), default=1.0)
    sizes = {value: 1 + float(expected[value].abs()), **dict.fromkeys(gradients, largest or 1.0)}
    off = (name for name, size in sizes.items() if not apart(found[name], expected[name]) <= tolerance * size)
    return next(off, None)


def or_zeros(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    """The gradient; zeros where autograd found none."""
    return torch.zeros_like(parameter) if gradient is None else gradient
