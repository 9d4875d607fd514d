"""Standardising: features of mean 0 and standard deviation 1, and back to the units that they were given in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

__all__ = ["Scaling"]


@dataclass(frozen=True, eq=False)
class Scaling:
    """x = (given - shift) / scale, feature by feature.

    Args:
        shift: (D,), the mean of the training data.
        scale: (D,), their standard deviation; 1 where that is 0.

    >>> import torch
    >>> scaling = Scaling.of(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    >>> scaling(torch.tensor([[1.0, 5.0]])), scaling.undone(torch.tensor([[-1.0, 0.0]]))
    (tensor([[-1.,  0.]]), tensor([[1., 5.]]))
    """

    shift: Tensor
    scale: Tensor

    @classmethod
    def of(cls, x: Tensor, left: Tensor | None = None) -> Self:
        """The scaling by the mean and the standard deviation of x, (N, D), but for features that are ``left`` as they
        are, a mask (D,)."""
        scale = x.std(0, correction=0)
        kept = scale == 0 if left is None else left.to(x.device) | (scale == 0)
        shift = x.mean(0) if left is None else x.mean(0).masked_fill(left.to(x.device), 0.0)
        return cls(shift, scale.masked_fill(kept, 1.0))

    def __call__(self, x: Tensor) -> Tensor:
        """x (..., D) in units of standard deviations."""
        return (x - self.shift.to(x)) / self.scale.to(x)

    def undone(self, x: Tensor) -> Tensor:
        """x (..., D) in the units of the data that were given."""
        return x * self.scale.to(x) + self.shift.to(x)

    def to_json(self) -> dict[str, Any]:
        """The numbers, in JSON's own types."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}
