"""Linear pairs beside principal components, and beside the mixing where it is known.

    explained variance     1 - sum_n |x_n - x_ - P (x_n - x_)|^2 / sum_n |x_n - x_|^2,      x_: the training mean

with P the projection onto the span of the K columns that a pair adds up (:meth:`ppgen.Pair.loadings`): the share of the
variance of data that lies there. Beside it stand that of the first K principal components of training data, greatest
over the data that they are of, and the largest of the K principal angles between the two subspaces: 0 degrees where
they are one, 90 where a direction of one is orthogonal to all of the other. Of K below the numbers of x and of data.

``amari_index``: of a pair with an ``unmixing`` matrix, on data of as many sources whose mixing is
known (:mod:`ppgen.evaluation.amari`).

Numerical Methods for Computing Angles Between Linear Subspaces, Bjorck and Golub, 1973.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ppgen.data import Dataset
from ppgen.evaluation.amari import amari_index
from ppgen.evaluation.case import Case
from ppgen.evaluation.features import ROWS
from ppgen.evaluation.result import Measure

__all__ = ["explained", "factors"]


def factors(case: Case) -> Iterator[Measure]:
    """``explained_variance``, that of principal components, ``subspace_angle``; ``amari_index``."""
    if not isinstance(case.data, Dataset):
        return
    loadings = case.pair.loadings()
    if loadings is not None:
        yield from _beside_components(case, loadings.detach().cpu().double().numpy())
    mixing, unmixing = case.data.mixing, getattr(case.pair, "unmixing", None)
    if mixing is not None and unmixing is not None and unmixing.shape == mixing.shape:
        found = amari_index(unmixing.detach().cpu().double(), mixing.cpu().double())
        said = "how far sources are from separated, by their known mixing: 0 up to order, sign and scale, 1 the worst"
        yield Measure("amari_index", found, None, said)


def explained(x: NDArray[Any], centre: NDArray[Any], columns: NDArray[Any]) -> float:
    """The share of the variance of x, (N, D), about ``centre`` that lies in the span of ``columns``, (D, K).

    >>> round(explained(np.array([[2.0, 1.0], [-2.0, -1.0]]), np.zeros(2), np.array([[3.0], [0.0]])), 6)
    0.8
    """
    from scipy.linalg import orth

    centred = x - centre
    return float(((centred @ orth(columns)) ** 2).sum() / (centred**2).sum())


def _beside_components(case: Case, columns: NDArray[Any]) -> Iterator[Measure]:
    from scipy.linalg import subspace_angles
    from sklearn.decomposition import PCA

    x, size = case.batch[0], columns.shape[1]
    rows = torch.randperm(case.dataset.size("train"))[:ROWS].to(x.device)
    train = case.dataset.draw(case.dataset.rows("train", rows))[0].cpu().double().numpy()
    held = x.cpu().double().numpy()
    if size >= min(train.shape) or not np.ptp(held, axis=0).any():
        return
    found = PCA(size, random_state=0).fit(train)
    of = f"the variance of {len(held):,} {case.split} data about the training mean that lies in the span of {size:,}"
    by_pca = f"principal components of {len(train):,} training data"
    here, there = (explained(held, found.mean_, of_it) for of_it in (columns, found.components_.T))
    yield Measure("explained_variance", here, None, f"share of {of} columns; 1 is all")
    yield Measure("explained_variance_of_pca", there, None, f"share of {of} {by_pca}; 1 is all")
    angle = math.degrees(float(subspace_angles(columns, found.components_.T).max()))
    said = f"degrees, the largest between the span of {size:,} columns and that of as many {by_pca}; 0 is the same"
    yield Measure("subspace_angle", angle, None, said)
