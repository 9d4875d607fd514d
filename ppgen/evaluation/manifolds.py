"""Precision and recall, density and coverage: do samples lie among the data, and data among the samples?

Around each of n data x_i the ball whose radius r_i is the distance to its k-th nearest other datum, and of each of m
samples y_j that of its k-th nearest other sample, R_j:

    precision   the share of samples that lie in some ball of the data          (1/m) sum_j 1[some |y_j - x_i| <= r_i]
    recall      the share of data that lie in some ball of the samples          (1/n) sum_i 1[some |x_i - y_j| <= R_j]
    density     in how many balls of the data a sample lies, over k             (1/mk) sum_j sum_i 1[|y_j - x_i| <= r_i]
    coverage    the share of data whose ball holds some sample                  (1/n) sum_i 1[some |y_j - x_i| <= r_i]

Samples that are fresh data have an expected density of 1 and, of n + m - 1 points in order of their distance to x_i
each as likely to be a sample as any other,

    E[coverage] = 1 - C(n - 1, k) / C(n + m - 1, k),        about 1 - 2^-k where n = m;

their precision and recall are alike, and near 1 for large k. All four are 0 where samples and data lie apart.
Precision counts one far datum's large ball in whole, and recall one far sample's: density and coverage do so less. A
generator that leaves a mode out loses recall and coverage, one that adds what is no datum loses precision and density.
Distances are those of what is given: of x itself, or of features of it.

Improved Precision and Recall Metric for Assessing Generative Models, Kynkaanniemi, Karras, Laine, Lehtinen and Aila,
2019, eq. 1 and 2; Reliable Fidelity and Diversity Metrics for Generative Models, Naeem, Oh, Uh, Choi and Yoo, 2020, eq.
3 to 5 and appendix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.evaluation.result import Measure
from ppgen.pairs.rows import num_rows

__all__ = [
    "Manifolds",
    "density_and_coverage",
    "expected_coverage",
    "manifolds",
    "neighbourhoods",
    "precision_and_recall",
]

_MOST = 1000
"""Points of each side."""
_K = 5


@dataclass(frozen=True, eq=False)
class Manifolds:
    """Of each sample, (m,), and each datum, (n,), what the four measures are means of.

    ``precision`` and ``density`` are of samples, ``recall`` and ``coverage`` of data.
    """

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


def manifolds(samples: Tensor, data: Tensor, *, k: int = _K) -> Manifolds:
    """What the measures are means of, of ``samples`` (m, D) and ``data`` (n, D). Takes memory of (n + m)^2 numbers.

    Args:
        samples: draws of the model.
        data: of the data's distribution, not those that it was trained on.
        k: which nearest neighbour's distance is a ball's radius.

    Raises:
        UsageError: sides of other sizes D, no more than k points on a side, k below 1, or numbers that are not finite.

    >>> found: Manifolds = manifolds(torch.tensor([[0.1], [9.0], [9.5]]), torch.tensor([[0.0], [1.0], [2.0]]), k=1)
    >>> [float(getattr(found, name).mean()) for name in ("precision", "recall", "density", "coverage")]
    [0.3333333333333333, 1.0, 0.6666666666666666, 0.6666666666666666]
    """
    _check(samples, data, k)
    x, y = data.double(), samples.to(data).double()
    apart = torch.cdist(y, x)  # (m, n)
    inside = apart <= _radii(x, k)
    around = apart <= _radii(y, k)[:, None]
    return Manifolds(inside.any(1).double(), around.any(0).double(), inside.double().sum(1) / k, inside.any(0).double())


def precision_and_recall(samples: Tensor, data: Tensor, *, k: int = _K) -> tuple[float, float]:
    """Precision and recall of :func:`manifolds`.

    >>> x = torch.randn(200, 2)
    >>> precision_and_recall(x, x), precision_and_recall(x + 99, x)
    ((1.0, 1.0), (0.0, 0.0))
    """
    found = manifolds(samples, data, k=k)
    return float(found.precision.mean()), float(found.recall.mean())


def density_and_coverage(samples: Tensor, data: Tensor, *, k: int = _K) -> tuple[float, float]:
    """Density and coverage of :func:`manifolds`; density may be above 1.

    >>> x = torch.randn(200, 2)
    >>> density_and_coverage(x + 99, x)
    (0.0, 0.0)
    """
    found = manifolds(samples, data, k=k)
    return float(found.density.mean()), float(found.coverage.mean())


def expected_coverage(num_samples: int, num_data: int, k: int = _K) -> float:
    """Of samples that are fresh draws of the data's distribution, where no two distances are equal.

    Of the n - 1 other data and the m samples, in order of their distance to x_i, a sample is among those up to the k-th
    datum unless the first k are all data: 1 - C(n - 1, k) / C(n + m - 1, k).

    >>> round(expected_coverage(10_000, 10_000, 5), 3), 1 - 2**-5
    (0.969, 0.96875)
    """
    return 1 - math.comb(num_data - 1, k) / math.comb(num_data + num_samples - 1, k)


def neighbourhoods(case: Case) -> Iterator[Measure]:
    """The four measures of samples of the pair and data of the split."""
    if not case.num_samples or min(num_rows(case.batch), case.num_samples) <= _K:
        return
    rows = torch.randperm(num_rows(case.batch))[:_MOST].to(case.batch[0].device)
    y, x = case.samples[:_MOST], case.batch[0][rows]
    found, of = manifolds(y, x), f"of {len(y):,} samples and {len(x):,} {case.split} data, k = {_K}"
    fresh = expected_coverage(len(y), len(x))
    for name, meaning in (
        ("precision", f"share of samples within reach of a datum, {of}"),
        ("recall", f"share of data within reach of a sample, {of}"),
        ("density", f"data within whose reach a sample lies, over k; fresh data have 1, {of}"),
        ("coverage", f"share of data with a sample within their reach; fresh data have {fresh:.3f}, {of}"),
    ):
        each: Tensor = getattr(found, name)
        yield Measure(name, float(each.mean()), float(each.std() / math.sqrt(len(each))), meaning)


def _radii(x: Tensor, k: int) -> Tensor:
    """The distance of each of x, (n, D), to its k-th nearest other: (n,)."""
    apart = torch.cdist(x, x).fill_diagonal_(-1)  # itself comes first, whatever rounding says
    return apart.kthvalue(k + 1, dim=1).values


def _check(samples: Tensor, data: Tensor, k: int) -> None:
    if samples.dim() != 2 or data.dim() != 2 or samples.shape[1] != data.shape[1] or k < 1:
        raise UsageError(
            f"expected samples (m, D), data (n, D) and k of at least 1, got {tuple(samples.shape)}, "
            f"{tuple(data.shape)} and {k}."
        )
    if min(len(samples), len(data)) <= k:
        raise UsageError(
            f"the {k}-th nearest neighbours of {len(samples)} samples and {len(data)} data need more than {k} of each: "
            "give more, or a smaller k."
        )
    if not bool(samples.isfinite().all()) or not bool(data.isfinite().all()):
        raise UsageError("a sample or a datum is not finite: look at the model that the samples were drawn from.")
