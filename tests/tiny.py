"""The tiny pair of a registered model, with a data set."""

from __future__ import annotations

import torch

from ppgen.data import Dataset, as_dataset
from ppgen.pairs.pair import Pair
from ppgen.registry import MODELS

__all__ = ["tiny_pair"]


def tiny_pair(model: str, copies: int = 4) -> tuple[Pair, Dataset]:
    """The tiny pair of a model, from one seed, and a data set of a few copies of its batch in every split."""
    make = MODELS[model].tiny
    assert make is not None
    torch.manual_seed(0)
    pair, batch = make()
    columns = tuple(torch.cat([part] * copies) for part in batch)
    x = columns if len(columns) > 1 else columns[0]
    return pair, as_dataset(x, valid=x, test=x)
