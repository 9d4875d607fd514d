"""Where numbers of one kind stand in a vector whose numbers are of several kinds: runs of neighbours.

Runs are sliced and put together, not looked up: there is no index that would have to be on the data's device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["Place", "put_together"]


@dataclass(frozen=True)
class Place:
    """Features of a vector.

    Args:
        runs: of each run of neighbours the first feature, and the one after the last; in their order.

    >>> Place(((0, 1), (3, 5))).of(torch.arange(6))
    tensor([0, 3, 4])
    """

    runs: tuple[tuple[int, int], ...]

    @classmethod
    def at(cls, slices: Iterable[slice]) -> Self:
        """The place of some slices in their order, neighbours as one run.

        >>> Place.at([slice(0, 1), slice(1, 2), slice(4, 6)])
        Place(runs=((0, 2), (4, 6)))
        """
        runs: list[tuple[int, int]] = []
        for one in slices:
            start = runs.pop()[0] if runs and runs[-1][1] == one.start else one.start
            runs.append((start, one.stop))
        return cls(tuple(runs))

    @property
    def size(self) -> int:
        """How many features."""
        return sum(end - start for start, end in self.runs)

    def of(self, x: Tensor) -> Tensor:
        """These features of x, (..., D) to (..., size)."""
        parts = [x[..., start:end] for start, end in self.runs]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def put_together(values: Sequence[Tensor], places: Sequence[Place]) -> Tensor:
    """Vectors, (..., size) each, as the one that has them at their places, (..., D); all of one batch shape.

    >>> put_together([torch.tensor([1, 4]), torch.tensor([2, 3])], [Place(((0, 1), (3, 4))), Place(((1, 3),))])
    tensor([1, 2, 3, 4])
    """
    runs = [
        (start, part)
        for value, place in zip(values, places, strict=True)
        for (start, _), part in zip(place.runs, value.split([b - a for a, b in place.runs], -1), strict=True)
    ]
    return torch.cat([part for _, part in sorted(runs, key=lambda run: run[0])], -1)
