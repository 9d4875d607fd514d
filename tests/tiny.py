"""The tiny pair of a registered model, or of one in another shape, with a data set."""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.data import Dataset, DataSpec, as_dataset
from ppgen.models import RBM
from ppgen.pairs.pair import Pair
from ppgen.registry import MODELS

__all__ = ["OTHERS", "tiny_pair"]


def _rbm_of_reals() -> tuple[Pair, tuple[Tensor, ...]]:
    return RBM(DataSpec("reals", 3, "real", num_data=20), 2), (torch.randn(5, 3),)


def _rbm_with_labels() -> tuple[Pair, tuple[Tensor, ...]]:
    spec = DataSpec("bits", 3, "binary", num_classes=3, num_data=20)
    return RBM(spec, 2, labels=True), (torch.rand(5, 3).round(), torch.arange(5) % 3)


OTHERS = {"rbm of reals": _rbm_of_reals, "rbm with labels": _rbm_with_labels}
"""By what they are; objectives ask for such pairs."""


def tiny_pair(model: str, copies: int = 4) -> tuple[Pair, Dataset]:
    """The tiny pair of a model, from one seed, and a data set of a few copies of its batch in every split."""
    make = OTHERS[model] if model in OTHERS else MODELS[model].tiny
    assert make is not None
    torch.manual_seed(0)
    pair, batch = make()
    columns = tuple(torch.cat([part] * copies) for part in batch)
    x = columns if len(columns) > 1 else columns[0]
    return pair, as_dataset(x, valid=x, test=x)
