"""Reconstruction: how far a datum is from what a pair makes of it.

    mean over data of |x - r(x)|^2, the sum over features,

of pairs that have ``reconstruct(x)``, (B, D) to (B, D): an autoencoder's output.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ppgen.evaluation.case import Case
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Measure
from ppgen.pairs.looking import looking

__all__ = ["reconstruction"]

_ROWS = 1000
"""Data at a time."""


def reconstruction(case: Case) -> Iterator[Measure]:
    """``squared_error`` of pairs that reconstruct."""
    reconstruct = getattr(case.pair, "reconstruct", None)
    if not callable(reconstruct):
        return
    x = case.batch[0]
    with looking(case.pair):
        error = torch.cat([(part - reconstruct(part)).square().sum(-1) for part in x.split(_ROWS)])
    meaning = f"squared error of reconstructing a datum, the sum over {x.shape[1]:,} features; mean of {len(x):,} "
    yield Measure("squared_error", *mean_and_error(error.double()), f"{meaning}{case.split} data")
