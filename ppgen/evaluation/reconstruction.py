"""Reconstruction: how far a datum is from what a pair makes of it.

    mean over data of |x - r(x)|^2, the sum over features,

of pairs that have ``reconstruct(*batch)``, x (B, D) first, to (B, D): an autoencoder's output. Where the pair has
``encode(*batch)`` too, to (B, H) with H below D and more training data, the same of the first H principal components of
training data stands beside it: the best of linear maps through H numbers (there, and elsewhere up to the sample).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ppgen.evaluation.case import Case
from ppgen.evaluation.features import ROWS
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Measure
from ppgen.pairs.looking import looking
from ppgen.pairs.rows import take_rows

__all__ = ["reconstruction"]

_ROWS = 1000
"""Data at a time."""


def reconstruction(case: Case) -> Iterator[Measure]:
    """``squared_error`` of pairs that reconstruct."""
    if not case.pair.reconstructs:
        return
    x, pair = case.batch[0], case.pair
    parts = (take_rows(case.batch, slice(start, start + _ROWS)) for start in range(0, len(x), _ROWS))
    with looking(pair):
        error = torch.cat([(part[0] - pair.reconstruct(*part)).square().sum(-1) for part in parts])
    meaning = f"squared error of reconstructing a datum, the sum over {x.shape[1]:,} features; mean of {len(x):,} "
    yield Measure("squared_error", *mean_and_error(error.double()), f"{meaning}{case.split} data")
    yield from _of_components(case, meaning)


def _of_components(case: Case, meaning: str) -> Iterator[Measure]:
    """``squared_error_of_pca``, of as many components as a code has numbers."""
    from sklearn.decomposition import PCA

    x, encode = case.batch[0], getattr(case.pair, "encode", None)
    if not callable(encode) or getattr(case.pair, "binary_codes", False):
        return
    with looking(case.pair):
        size = encode(*take_rows(case.batch, slice(2))).shape[-1]
    rows = torch.randperm(case.dataset.size("train"))[:ROWS].to(x.device)
    train = case.dataset.draw(case.dataset.rows("train", rows))[0].cpu().double().numpy()
    if size >= min(train.shape):
        return
    found = PCA(size, random_state=0).fit(train)
    held = x.cpu().double().numpy()
    error = torch.from_numpy(held - found.inverse_transform(found.transform(held))).square().sum(-1)
    told = f"{meaning}{case.split} data by {size:,} principal components of {len(train):,} training data"
    yield Measure("squared_error_of_pca", *mean_and_error(error), told)
