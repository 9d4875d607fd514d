"""Ranks that should be uniform: how they are taken, the band their distribution function stays in, and tests.

If z* and z_1, ..., z_L are exchangeable, the rank of z* among them, ties broken at random,

    r = #{l : z_l < z*} + U{0, ..., #{l : z_l = z*}},

is uniform on 0, ..., L: of continuous latents and of discrete ones. Of N independent ranks the counts
c_j = #{n : r_n < j}, j = 1, ..., L, are each Binomial(N, j / (L + 1)), and together the partial sums of a multinomial:
of independent Poisson increments given that they sum to N. So the probability that all counts stay in a band,
a_j <= c_j <= b_j, is exact,

    P(a <= c <= b) = P(Poisson walk of rate N / (L + 1) a step stays in the band and ends at N) / P(Poisson(N) = N),

one convolution a step. The band of level g is that of the counts both of whose binomial tails exceed g / 2 at every j.
Its simultaneous coverage falls as g grows, and with the smallest g whose band the ranks leave,

    g* = min_j 2 min( P(Bin_j <= c_j), P(Bin_j >= c_j) ),        p = 1 - coverage(g*)

is an exact p-value: P(p <= alpha) <= alpha under uniformity.

A p-value falls with N however small the departure; its size does not. That is measured by Kuiper's distance

    V = max_j (c_j / N - j / (L + 1))  -  min_j (c_j / N - j / (L + 1)),        both with 0 for j = 0,

the largest error of the probability of any interval of ranks. With N it tends to that of an interval between quantiles
of the guide, a lower bound on the mean over data of the total variation between guide and posterior. Of N uniform ranks

    P(V > v)  ~  sum_i 2 (4 i^2 t^2 - 1) exp(-2 i^2 t^2),        t = v (sqrt(N) + 0.155 + 0.24 / sqrt(N)),

less where L is small. Of any ranks V exceeds its limit by no more than such a V, so that V less the quantile 1 - alpha
of the latter is a lower confidence bound of level 1 - alpha on the limit.

Säilynoja, Bürkner and Vehtari, Graphical test for discrete uniformity and its applications in goodness-of-fit
evaluation and multiple sample comparison, Statistics and Computing, 2022 (the bands; section 2.2, whose adjustment of g
is done here by Poisson increments). Talts, Betancourt, Simpson, Vehtari and Gelman, Validating Bayesian inference
algorithms with simulation-based calibration, 2018 (ranks). Kuiper, Tests concerning random points on a circle, 1960
(V). Stephens, Use of the Kolmogorov-Smirnov, Cramer-Von Mises and related statistics without extensive tables, 1970
(its distribution at a finite N).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "ecdf_band",
    "ecdf_counts",
    "ecdf_difference",
    "interval_error",
    "interval_noise",
    "randomised_ranks",
    "simultaneous_coverage",
    "symmetry_p",
    "uniformity_p",
]

Counts: TypeAlias = Any
"""A NumPy array of whole numbers or floats."""

_HALVINGS = 30
_FLIPS, _AT_ONCE = 9999, 1111
_TINY = 1e-10
"""Levels below which one minus the coverage is rounding."""

_ROUNDING = 1e-9
"""Relative: tails that differ by less are the same number, computed in two ways."""


def randomised_ranks(draws: Tensor, truth: Tensor) -> Tensor:
    """The rank of each truth (B, Q) among its draws (L, B, Q), in 0, ..., L, ties broken at random: (B, Q), int64.

    >>> randomised_ranks(torch.tensor([[[0.1]], [[0.4]], [[0.9]]]), torch.tensor([[0.5]]))
    tensor([[2]])
    """
    below, equal = (draws < truth).sum(0), (draws == truth).sum(0)  # (B, Q)
    return below + (torch.rand(truth.shape, dtype=torch.float64, device=truth.device) * (equal + 1)).long()


def ecdf_counts(ranks: Tensor, num_draws: int) -> Tensor:
    """#{n : r_n < j} for j = 1, ..., L of ranks (N, Q): (L, Q), int64.

    >>> ecdf_counts(torch.tensor([[0], [2], [2]]), 3)[:, 0]
    tensor([1, 1, 3])
    """
    places = torch.arange(1, num_draws + 1, device=ranks.device)
    return (ranks < places[:, None, None]).sum(1)


def ecdf_difference(ranks: Tensor, num_draws: int) -> Tensor:
    """c_j / N - j / (L + 1) of ranks (N, Q): (L, Q), float64.

    >>> ecdf_difference(torch.tensor([[0], [2], [2], [2]]), 3)[:, 0]
    tensor([ 0.0000, -0.2500,  0.2500], dtype=torch.float64)
    """
    uniform = torch.arange(1, num_draws + 1, dtype=torch.float64, device=ranks.device) / (num_draws + 1)
    return ecdf_counts(ranks, num_draws) / len(ranks) - uniform[:, None]


def interval_error(ranks: Tensor, num_draws: int) -> Tensor:
    """V of ranks (N, Q): (Q,), float64, in [0, 1].

    >>> interval_error(torch.tensor([[0], [2], [2], [2]]), 3)
    tensor([0.5000], dtype=torch.float64)
    """
    difference = ecdf_difference(ranks, num_draws)
    return difference.amax(0).clamp_min(0) - difference.amin(0).clamp_max(0)


@lru_cache(maxsize=32)
def interval_noise(num: int, alpha: float) -> float:
    """What V of N = ``num`` uniform ranks exceeds with probability ``alpha``, at most.

    >>> round(interval_noise(2000, 0.05), 3)
    0.039
    """
    from scipy.optimize import brentq

    def excess(t: float) -> float:
        squares = (t * np.arange(1, 11)) ** 2
        return float((2 * (4 * squares - 1) * np.exp(-2 * squares)).sum()) - alpha

    root = math.sqrt(num)
    return float(brentq(excess, 0.8, 8)) / (root + 0.155 + 0.24 / root)


@lru_cache(maxsize=32)
def ecdf_band(num: int, num_draws: int, alpha: float = 0.05) -> tuple[Tensor, Tensor]:
    """Bounds (L,), (L,) on the counts, which N = ``num`` uniform ranks keep to with probability at least 1 - alpha.

    The widest level g that keeps it, by bisection. ArviZ's ``ecdf_confidence_band`` aims at 1 - alpha and may fall
    short of it (by 0.0011 at N = 1000, L = 19), in thirty times as long at N = 5000.
    """
    low, high = 0.0, alpha
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        kept = simultaneous_coverage(*_band(num, num_draws, middle), num) >= 1 - alpha
        low, high = (middle, high) if kept else (low, middle)
    lower, upper = _band(num, num_draws, low)
    return torch.from_numpy(lower), torch.from_numpy(upper)


def simultaneous_coverage(lower: Counts, upper: Counts, num: int) -> float:
    """The probability that the counts c_1, ..., c_L of ``num`` uniform ranks all have lower <= c <= upper.

    Args:
        lower: (L,), whole numbers between 0 and ``num``.
        upper: (L,), the same.
        num: N.
    """
    from scipy.stats import poisson

    step = poisson.pmf(np.arange(num + 1), num / (len(lower) + 1))
    walk, start = np.ones(1), 0
    for a, b in zip(lower, upper, strict=True):
        if b < max(a, start):
            return 0.0
        moved = np.convolve(walk, step[: b - start + 1])[: b - start + 1]  # counts start, ..., b
        walk, start = moved[max(a - start, 0) :], max(a, start)
    last = step[num - start - np.arange(len(walk))]
    return float(walk @ last / poisson.pmf(num, num))


def uniformity_p(ranks: Tensor, num_draws: int) -> Tensor:
    """The exact p-values of ranks (N, Q) among L = ``num_draws`` draws each, a test for every column: (Q,), float64.

    Below 1e-10 x L it is their bound L g* instead, a sum over the L counts.
    """
    from scipy.stats import binom

    num, counts = len(ranks), ecdf_counts(ranks, num_draws).cpu().numpy()  # (L, Q)
    expected = (np.arange(1, num_draws + 1) / (num_draws + 1))[:, None]
    tails = np.minimum(binom.cdf(counts, num, expected), binom.sf(counts - 1, num, expected))
    levels = 2 * tails.min(0)  # (Q,)
    found = [
        num_draws * level if level < _TINY else 1 - simultaneous_coverage(*_band(num, num_draws, level), num)
        for level in levels.tolist()
    ]
    return torch.tensor(found, dtype=torch.float64).clamp(0, 1)


def symmetry_p(shares: Tensor) -> Tensor:
    """p-values of a test that shares (M, Q) in [0, 1] lie symmetrically about 1/2, for every column: (Q,), float64.

    The statistic is the largest distance between the distribution functions of p and of 1 - p (Yao, Vehtari, Simpson
    and Gelman, Yes, but did it work?, 2018, section 3.2). Under symmetry each p is as likely as its 1 - p: with 999
    random flips of the M the p-value (1 + #{flipped >= found}) / 1000 is exact.
    """
    offset = shares.double() - 0.5  # (M, Q)
    order = offset.abs().argsort(0, descending=True)
    sizes, signs = offset.abs().gather(0, order), offset.sign().gather(0, order)
    last = torch.cat([sizes[:-1] > sizes[1:], torch.ones_like(sizes[:1], dtype=torch.bool)])  # of those equal in size
    found, as_far = _asymmetry(signs, last), torch.zeros_like(sizes[0])
    for _ in range(_FLIPS // _AT_ONCE):
        flips = torch.randint(0, 2, (_AT_ONCE, len(signs), 1), device=signs.device).to(signs) * 2 - 1
        as_far += (_asymmetry(flips * signs, last) >= found).sum(0)
    return (1 + as_far) / (1 + _FLIPS)


def _asymmetry(signs: Tensor, last: Tensor) -> Tensor:
    """M sup_t | F(t) - F_mirrored(t) | of offsets from the middle with these signs, (..., M, Q): (..., Q).

    The offsets stand in the order of their sizes, the largest first: the difference beyond +-t is the sum of the signs
    of those larger than t. ``last`` (M, Q) marks where t may be.
    """
    return signs.cumsum(-2).abs().where(last, 0).amax(-2)


def _band(num: int, num_draws: int, level: float) -> tuple[Counts, Counts]:
    """The smallest and largest counts with both binomial tails above ``level`` / 2: (L,), (L,)."""
    from scipy.stats import binom

    expected, tail = np.arange(1, num_draws + 1) / (num_draws + 1), level / 2 * (1 + _ROUNDING)
    lower, upper = binom.ppf(tail, num, expected), binom.isf(tail, num, expected)
    return np.maximum(lower, 0).astype(np.int64), np.minimum(upper, num).astype(np.int64)
