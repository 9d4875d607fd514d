"""Memorisation: do samples lie nearer to the training data than fresh data do?

    P( d(x) < d(y) ) + P( d(x) = d(y) ) / 2,       x a sample, y a datum held out, d the distance to the nearest
                                                  training datum

is 1/2 where samples are fresh draws of the data's distribution, goes to 1 for copies of the training data, and to 0
where samples lie off the data. Its estimate over all pairs is the Mann-Whitney statistic over n m.

A Non-Parametric Test to Detect Data-Copying in Generative Models. Meehan, Chaudhuri and Dasgupta, 2020: the test
without its division of space into cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ppgen.evaluation.case import Case
from ppgen.evaluation.result import Measure
from ppgen.pairs.rows import num_rows

__all__ = ["memorisation", "nearest_distances", "nearness"]

_MOST = 1000
"""Samples, and data, whose nearest training datum is looked for."""

_ROWS = 5000
"""Training data looked through at a time."""


def nearest_distances(x: Tensor, train: Tensor | Iterable[Tensor]) -> Tensor:
    """The Euclidean distance of each of x, (n, D), to the nearest of train, (N, D) or parts of it: (n,), float64."""
    parts = train.split(_ROWS) if isinstance(train, Tensor) else train
    return torch.stack([torch.cdist(x.double(), rows.double()).amin(1) for rows in parts]).amin(0)


def nearness(of_samples: Tensor, of_data: Tensor) -> tuple[float, float]:
    """The probability that a sample's distance, (n,), is below a datum's, (m,), and its standard error.

    The error is that of a U-statistic to first order, from the shares of data below each sample and the reverse.
    """
    below = (of_samples[:, None] < of_data).double() + (of_samples[:, None] == of_data).double() / 2  # (n, m)
    n, m = below.shape
    return float(below.mean()), math.sqrt(float(below.mean(1).var() / n + below.mean(0).var() / m))


def memorisation(case: Case) -> Iterator[Measure]:
    """How much nearer to the training data samples lie than data held out from training."""
    if not case.num_samples or case.split == "train":
        return
    rows = torch.randperm(num_rows(case.batch))[:_MOST].to(case.batch[0].device)
    x, y = case.samples[:_MOST], case.batch[0][rows]
    parts = (slice(start, start + _ROWS) for start in range(0, case.data.size("train"), _ROWS))
    train = (case.data.draw(case.data.rows("train", part))[0] for part in parts)
    of_samples, of_data = nearest_distances(torch.cat([x, y]), train).split([len(x), len(y)])
    yield Measure(
        "nearness_to_train",
        *nearness(of_samples, of_data),
        f"probability that a sample lies nearer to the training data than a {case.split} datum does: 0.5 for fresh "
        f"draws, near 1 for copies, near 0 off the data; {len(x):,} samples, {len(y):,} data",
    )
