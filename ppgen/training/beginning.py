"""What a pair is given before its first step: a start at training data, where it was made to have one."""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.data import Dataset
from ppgen.pairs.looking import seeded
from ppgen.pairs.pair import Pair
from ppgen.pairs.starting import StartsAtData

__all__ = ["begin_at_data"]

_ROWS = 20_000
"""Data that a start is chosen from, at most; drawn at random where there are more."""


@torch.no_grad()
def begin_at_data(pair: Pair, data: Dataset, seed: int) -> None:
    """Let a pair that waits for data start at them; random numbers go on as if nothing had been drawn.

    Raises:
        UsageError: it cannot start there.
    """
    if isinstance(pair, StartsAtData) and pair.waits_for_data:
        with seeded(seed):
            pair.start_from(torch.cat([_some(part) for part in data.parts]), seed=seed)


def _some(data: Dataset) -> Tensor:
    """x of training data in their order, as they are shown, (n, D)."""
    num = len(data.train[0])
    rows = torch.arange(num) if num <= _ROWS else torch.randperm(num)[:_ROWS].sort().values
    x: Tensor = data.draw(data.rows("train", rows))[0]
    return x
