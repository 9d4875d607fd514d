"""The kernel two-sample test: do samples and data come from one distribution?

    MMD^2(p, q) = E k(x, x') + E k(y, y') - 2 E k(x, y),      x, x' ~ p,  y, y' ~ q,  k(x, y) = exp(-|x - y|^2 / 2 h^2)

is 0 where p = q and positive elsewhere. Its estimate here leaves out the terms with x = x' and y = y' and is unbiased,
so that it falls below 0 about as often as above where p = q. h is the median distance between points of the pooled
sample. Under p = q all divisions of the pooled sample are equally likely; of B random ones and the one at hand,

    p-value = (1 + number of divisions whose MMD^2 is as large or larger) / (B + 1),

which is at most a with probability at most a under p = q, for any sample size (Phipson and Smyth 2010). The standard
error is that of a U-statistic to first order; where p = q it is 0 to that order, and the p-value is what to read.

A Kernel Two-Sample Test. Gretton, Borgwardt, Rasch, Schoelkopf and Smola, JMLR 2012: eq. 3, section 8 (median).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.evaluation.result import Measure
from ppgen.pairs.rows import num_rows

__all__ = ["TwoSampleTest", "kernel_two_sample_test", "two_sample"]

_MOST = 1000
"""Points of each side: the kernel matrix of both then takes 32 MB, and the test about a second."""

_ROUNDING = 1e-12
"""Divisions whose MMD^2 differ by less are the same."""


@dataclass(frozen=True)
class TwoSampleTest:
    """The outcome: MMD^2, its standard error, the p-value of p = q, and the kernel's bandwidth h.

    >>> x = torch.linspace(0, 1, 20)[:, None]
    >>> apart = kernel_two_sample_test(x, x + 5)
    >>> apart.p_value, kernel_two_sample_test(x, x + 0.01).p_value > 0.05
    (0.001, True)
    """

    mmd_squared: float
    standard_error: float
    p_value: float
    bandwidth: float


def kernel_two_sample_test(x: Tensor, y: Tensor, *, num_permutations: int = 999, seed: int = 0) -> TwoSampleTest:
    """Test whether ``x`` (n, D) and ``y`` (m, D) come from one distribution. Takes memory of (n + m)^2 numbers.

    Args:
        x: independent draws of p.
        y: independent draws of q.
        num_permutations: B, random divisions of the pooled sample.
        seed: seeds the divisions; the global random state is left as it was.

    Raises:
        UsageError: fewer than 2 points on a side, sides of different sizes D, fewer than 1 permutation, numbers that
            are not finite, or points that are all the same.
    """
    _check(x, y, num_permutations)
    pooled = torch.cat([x, y.to(x)]).double()
    squares = torch.cdist(pooled, pooled).square()
    bandwidth = _median_distance(squares)
    kernel = (squares / (-2 * bandwidth**2)).exp().fill_diagonal_(0)
    at_hand = torch.zeros(1, len(pooled), dtype=torch.float64, device=x.device)
    at_hand[:, : len(x)] = 1
    observed = mmd_squared(kernel, at_hand)[0]
    divisions = _divisions(len(x), len(pooled), num_permutations, seed).to(kernel)
    larger = int((mmd_squared(kernel, divisions) >= observed - _ROUNDING).sum())
    error = _standard_error(kernel, len(x))
    return TwoSampleTest(float(observed), error, (1 + larger) / (1 + num_permutations), bandwidth)


def mmd_squared(kernel: Tensor, divisions: Tensor) -> Tensor:
    """The unbiased MMD^2 of each division of one sample.

    Args:
        kernel: (N, N), with zeros on its diagonal.
        divisions: (P, N), 1 where a point is one of x and 0 where it is one of y.

    Returns:
        (P,)
    """
    n = divisions.sum(1)
    m = divisions.shape[1] - n
    sums = divisions @ kernel  # (P, N): each point's kernel with all of x
    xx = (sums * divisions).sum(1)
    xy = (sums * (1 - divisions)).sum(1)
    yy = kernel.sum() - xx - 2 * xy
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


def two_sample(case: Case) -> Iterator[Measure]:
    """MMD^2 between samples of the pair and data of the split, and the p-value of their being alike."""
    if not case.num_samples:
        return
    rows = torch.randperm(num_rows(case.batch))[:_MOST]
    x, y = case.samples[:_MOST], case.batch[0][rows.to(case.batch[0].device)]
    found = kernel_two_sample_test(x, y, seed=case.seed)
    yield Measure(
        "mmd_squared",
        found.mmd_squared,
        found.standard_error,
        f"squared maximum mean discrepancy of {len(x):,} samples and {len(y):,} {case.split} data, normal kernel of "
        f"width {found.bandwidth:.3g}; 0 where they are alike",
    )
    yield Measure(
        "two_sample_p_value",
        found.p_value,
        None,
        "probability of so large a discrepancy, were samples and data alike; 0.001 is the smallest possible",
    )


def _standard_error(kernel: Tensor, n: int) -> float:
    """By the first-order projections k(x, X) - k(x, Y) of each x, and those of each y."""
    variance = 0.0
    for own, other in ((slice(n), slice(n, None)), (slice(n, None), slice(n))):
        block, across = kernel[own, own], kernel[own, other]
        variance += 4 * float((block.sum(1) / (len(block) - 1) - across.mean(1)).var()) / len(block)
    return math.sqrt(variance)


def _divisions(n: int, total: int, num: int, seed: int) -> Tensor:
    """Random choices of n among ``total``, as rows of 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(num, total, generator=generator, dtype=torch.float64).argsort(1)
    return (order < n).double()


def _median_distance(squares: Tensor) -> float:
    """Of all pairs; of those that differ, where most pairs are the same (discrete data)."""
    each = squares[torch.ones_like(squares, dtype=torch.bool).triu(1)]
    for distances in (each, each[each > 0]):
        if len(distances) and (median := float(distances.median().sqrt())) > 0:
            return median
    raise UsageError("the points of a two-sample test are all the same: there is no distance to measure them by.")


def _check(x: Tensor, y: Tensor, num_permutations: int) -> None:
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise UsageError(
            "a two-sample test expects x (n, D) and y (m, D) of at least 2 points each, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}."
        )
    if not bool(x.isfinite().all()) or not bool(y.isfinite().all()):
        raise UsageError("a point of a two-sample test is not finite: look at the model that it was drawn from.")
    at_least("num_permutations", num_permutations, 1)
