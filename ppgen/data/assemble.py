"""From arrays to a data set: what all loaders share (derived facts, fixed permutations, binarization).

Splits and one-time binarizations draw from ``numpy.random.RandomState``, whose streams NumPy has promised
never to change: the same seed gives the same split on every machine, today and later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ppgen.arguments import one_of
from ppgen.data.dataset import Dataset, Split
from ppgen.data.sequences import facts
from ppgen.data.sparse import SparseRows, is_sparse
from ppgen.data.spec import DataSpec, Observation
from ppgen.data.validate import UNKNOWN_LABEL

__all__ = [
    "BINARIZE",
    "Part",
    "assemble",
    "assemble_images",
    "binarize_once",
    "dequantise_once",
    "permutation",
]

BINARIZE = ("dynamic", "threshold", "none", "dequantise")


@dataclass(frozen=True)
class Part:
    """One split as arrays: x is (N, D), sparse (SciPy's) or not, y is (N,) or None."""

    x: Any
    y: NDArray[Any] | None = None

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> Part:
        return Part(self.x[rows], None if self.y is None else self.y[rows])

    def tensors(self, *, labels: bool) -> Split:
        """(x,) or, with ``labels``, (x, y): torch's default type, dense or sparse rows, and int64."""
        kind = torch.empty(0).numpy().dtype
        dense = not is_sparse(self.x)
        with np.errstate(over="ignore"):  # what is infinite in that type is refused with its row
            x = torch.from_numpy(np.ascontiguousarray(self.x, kind)) if dense else SparseRows.of(self.x)
        if not labels or self.y is None:
            return (x,)
        return x, torch.from_numpy(np.ascontiguousarray(self.y, dtype=np.int64))


def permutation(n: int, seed: int) -> NDArray[np.intp]:
    """A fixed random order of n rows."""
    return np.random.RandomState(seed).permutation(n)


def binarize_once(probabilities: NDArray[Any], seed: int) -> NDArray[np.bool_]:
    """x ~ Bernoulli(probabilities), the same draw at every call with the same seed."""
    draws: NDArray[np.bool_] = np.random.RandomState(seed).random_sample(probabilities.shape) < probabilities
    return draws


def dequantise_once(intensities: NDArray[Any], levels: int, seed: int) -> NDArray[np.float32]:
    """(k + u) / L for each intensity k / (L - 1), u ~ U[0, 1), the same draw at every call with the same seed."""
    places = np.random.RandomState(seed).random_sample(intensities.shape)
    found: NDArray[np.float32] = ((np.rint(intensities * (levels - 1)) + places) / levels).astype(np.float32)
    return found


def assemble(
    name: str,
    train: Part,
    valid: Part,
    test: Part,
    *,
    observation: Observation,
    image_shape: tuple[int, ...] | None = None,
    levels: int | None = None,
    num_classes: int | None = None,
    vocabulary: Sequence[str] | None = None,
    dynamic: bool = False,
) -> Dataset:
    """A data set of three parts, batches (x, y) with ``num_classes``. The mean and the size are train's."""
    parts = [part.tensors(labels=num_classes is not None) for part in (train, valid, test)]
    x = parts[0][0]
    known = None if num_classes is None else parts[0][1] != UNKNOWN_LABEL
    spec = DataSpec(
        name,
        **facts(x, observation, len(vocabulary or ())),
        observation=observation,
        image_shape=image_shape,
        levels=levels,
        num_classes=num_classes,
        num_data=len(x),
        num_labelled=None if known is None or bool(known.all()) else int(known.sum()),
        vocabulary=None if vocabulary is None else tuple(vocabulary),
    )
    return Dataset(spec, train=parts[0], valid=parts[1], test=parts[2], dynamic=dynamic)


def assemble_images(
    name: str,
    train: Part,
    valid: Part,
    test: Part,
    *,
    binarize: str,
    image_shape: tuple[int, ...],
    levels: int | None = None,
    num_classes: int | None = None,
) -> Dataset:
    """A data set of pictures whose x are intensities in [0, 1], binarized as asked.

    Args:
        binarize: ``"dynamic"``: train keeps the intensities as probabilities and draws anew at each
            presentation (Burda et al. 2016), valid is drawn once with seed 1 and test with seed 2;
            ``"threshold"``: x > 1/2; ``"none"``: the grey values, quantised in ``levels``; ``"dequantise"``: level k of
            L is (k + u) / L, u ~ U[0, 1), real data with a density (Theis, van den Oord and Bethge 2016), u drawn anew
            at each presentation, and stored with seeds 0, 1 and 2.
    """
    one_of("unknown binarize", binarize, BINARIZE if levels is not None else BINARIZE[:2])
    build = partial(assemble, image_shape=image_shape, num_classes=num_classes)
    if binarize == "none":
        return build(name, train, valid, test, observation="quantised", levels=levels)
    if binarize == "dequantise":
        assert levels is not None  # one_of has looked
        parts = (train, valid, test)
        drawn = (Part(dequantise_once(part.x, levels, seed), part.y) for seed, part in enumerate(parts))
        return build(name, *drawn, observation="real", levels=levels, dynamic=True)
    if binarize == "threshold":
        train, valid, test = (Part(part.x > 0.5, part.y) for part in (train, valid, test))
        return build(name, train, valid, test, observation="binary")
    valid, test = Part(binarize_once(valid.x, 1), valid.y), Part(binarize_once(test.x, 2), test.y)
    return build(name, train, valid, test, observation="binary", dynamic=True)
