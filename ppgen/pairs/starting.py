"""Where components start: around the mean of the data, at data chosen at random, or at data far from one another.

    "mean"      around the training mean, apart at random: known when a pair is made
    "data"      at C different training data, each as likely as any other
    "kmeans++"  at C training data, the next one n with probability proportional to D_n^2, the squared distance to the
                nearest of those chosen; the best of 2 + log C candidates each time (scikit-learn's ``kmeans_plusplus``)

Linear pairs may start along the principal axes of the training data in the same way.

Only training has the data: the loop asks a pair once, before the first step, and a pair that has started never starts
again, whether its run is resumed, it is loaded and trained further, or its user put it somewhere.

k-means++: the advantages of careful seeding, Arthur and Vassilvitskii, SODA 2007.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from ppgen.errors import UsageError, setting

__all__ = ["DataStart", "Start", "StartsAtData"]

Start = Literal["mean", "data", "kmeans++"]


@runtime_checkable
class StartsAtData(Protocol):
    """A pair that can start at data: to add one, hold a :class:`DataStart` and write these two."""

    @property
    def waits_for_data(self) -> bool:
        """Whether it is to start at data and has not."""

    def start_from(self, *batch: Tensor, seed: int) -> None:
        """Put parameters where the training data (x,) or (x, y), x (N, D), say; the same for the same seed.

        Raises:
            UsageError: the data are too few or too much alike.
        """


class DataStart(nn.Module):
    """Which start was asked for, and, in the buffer ``done``, whether it was made.

    >>> start = DataStart("data")
    >>> start.chosen(torch.tensor([[1.0], [1.0], [2.0]]), 2, seed=0).flatten().sort().values, start.waits
    (tensor([1., 2.]), False)
    """

    done: Tensor

    def __init__(self, how: str, *, known: str = "mean") -> None:
        """``known``: the start that asks for no data."""
        super().__init__()
        self.how, self.asks = how, how != known
        if self.asks:
            self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    @property
    def waits(self) -> bool:
        """Whether data are still to be chosen."""
        return self.asks and not bool(self.done)

    def end(self) -> None:
        """Say that the start was made."""
        if self.asks:
            self.done.fill_(1)

    def chosen(self, x: Tensor, num: int, *, seed: int) -> Tensor:
        """C different data of x, (N, D), to start at: (C, D). It is said to be made.

        Raises:
            UsageError: there are fewer different data.
        """
        points = x.detach().double().cpu().numpy()
        rows = (_spread if self.how == "kmeans++" else _drawn)(points, num, seed)
        if len(np.unique(points[rows], axis=0)) < num:
            raise UsageError(
                f"{num} components that start at data need as many different data, got {len(points)} of which "
                f"{len(np.unique(points, axis=0))} differ: take fewer components, or {setting('M', 'start', 'mean')}."
            )
        self.end()
        return x[torch.as_tensor(rows, device=x.device)]


def _drawn(points: np.ndarray, num: int, seed: int) -> np.ndarray:
    """The first rows of a random order that differ, ``num`` at most."""
    order = np.random.RandomState(seed).permutation(len(points))
    first = np.unique(points[order], axis=0, return_index=True)[1]
    return order[np.sort(first)[:num]]


def _spread(points: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Rows chosen by k-means++; as many as there are, where there are fewer."""
    from sklearn.cluster import kmeans_plusplus

    rows: np.ndarray = kmeans_plusplus(points, min(num, len(points)), random_state=seed)[1]
    return rows
