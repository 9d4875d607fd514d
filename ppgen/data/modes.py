"""The known modes of a synthetic mixture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.errors import UsageError, shown

__all__ = ["Modes"]


@dataclass(frozen=True, eq=False)
class Modes:
    """A mixture of equally likely normal components N(centres_m, scale^2 I), m = 1..M.

    Args:
        centres: (M, D).
        scale: the standard deviation of each component, in each feature.

    Raises:
        UsageError: the centres are no such tensor, or the scale is not positive.
    """

    centres: Tensor
    scale: float

    def __post_init__(self) -> None:
        if self.centres.dim() != 2 or self.centres.shape[0] < 1 or not self.scale > 0:
            raise UsageError(
                f"modes expect centres (M, D) and a positive scale, got {tuple(self.centres.shape)} and "
                f"{shown(self.scale)}."
            )
