"""What a pair is given before its first step: a start at training data, where it was made to have one."""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.data import Dataset
from ppgen.pairs.looking import seeded
from ppgen.pairs.pair import Pair
from ppgen.pairs.starting import StartsAtData

__all__ = ["begin_at_data"]

_ROWS, _NUMBERS = 20_000, 2**26
"""Data, or numbers of x, that a start is found from, at most; drawn at random where there are more of both."""


@torch.no_grad()
def begin_at_data(pair: Pair, data: Dataset, seed: int) -> None:
    """Let a pair that waits for data start at them; random numbers go on as if nothing had been drawn.

    Of parts that take turns those are taken whose batches are like the first's.

    Raises:
        UsageError: it cannot start there.
    """
    if isinstance(pair, StartsAtData) and pair.waits_for_data:
        alike = [part for part in data.parts if len(part.train) == len(data.train)]
        with seeded(seed):
            pair.start_from(*map(torch.cat, zip(*map(_some, alike), strict=True)), seed=seed)


def _some(data: Dataset) -> tuple[Tensor, ...]:
    """Training data in their order, as they are shown: (n, D) and what goes with it."""
    num, most = len(data.train[0]), max(_ROWS, _NUMBERS // data.spec.num_features)
    rows = torch.arange(num) if num <= most else torch.randperm(num)[:most].sort().values
    return data.draw(data.rows("train", rows))
