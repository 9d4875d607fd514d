"""Reconstruction: how far a datum is from what a pair makes of it.

    mean over data of |x - r(x)|^2, the sum over features,

of pairs that have ``reconstruct(*batch)``, x (B, D) first, to (B, D): an autoencoder's output.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ppgen.evaluation.case import Case
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
