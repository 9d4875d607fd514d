"""When two results count as the same: rounding apart, and where gradients are missing.

Rounding is that of the coarsest floating type that took part. A float64 density of what a float32 network gives is
float64 by its type, and has a float32 number's error: the network's product sums its terms in an order that hangs on
the processor and on the number of rows, and row i comes out one rounding off in other company.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["apart", "close", "coarsest", "disagreement", "or_zeros"]

_MOST = 0.05
"""The largest relative difference that passes for rounding, of types so coarse that a thousand are the whole number."""


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference between two results."""
    return float((found - expected).detach().abs().max())


def coarsest(values: Iterable[Any]) -> float:
    """The relative rounding of the coarsest floating type among values: 1.2e-7 with a float32 tensor; 0 without any."""
    types = {value.dtype for value in values if isinstance(value, Tensor) and value.dtype.is_floating_point}
    return max((torch.finfo(dtype).eps for dtype in types), default=0.0)


def close(found: Tensor, expected: Tensor, slack: float = 1000.0, *, given: Iterable[Any] = ()) -> Tensor:
    """Where two results of the same sums agree, up to ``slack`` roundings of numbers of this size (at least 1).

    Args:
        found: a result.
        expected: the other one, of any shape that broadcasts.
        slack: how many roundings, each of the coarsest type, may lie between them; at most 5 percent in all.
        given: what both were computed from: parameters, buffers, the batch.
    """
    tolerance = min(slack * coarsest((found, expected, *given)), _MOST)
    wide = torch.promote_types(found.dtype, expected.dtype)
    same = found.to(wide).isclose(expected.to(wide), rtol=tolerance, atol=tolerance, equal_nan=True)
    return torch.as_tensor(same)


def disagreement(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 1e-3) -> str | None:
    """The first entry that is off by more than ``tolerance``; None if all agree.

    The first entry is a value, off relative to itself; the others are gradients, off relative to the largest of all:
    what rounding leaves where large terms cancel is no difference. Half precision may be off by eight roundings.
    """
    value, *gradients = expected
    tolerance = max(tolerance, 8 * coarsest(expected.values()))
    largest = max((float(expected[name].abs().max()) for name in gradients), default=1.0)
    sizes = {value: 1 + float(expected[value].abs()), **dict.fromkeys(gradients, largest or 1.0)}
    off = (name for name, size in sizes.items() if not apart(found[name], expected[name]) <= tolerance * size)
    return next(off, None)


def or_zeros(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    """The gradient; zeros where autograd found none."""
    return torch.zeros_like(parameter) if gradient is None else gradient
