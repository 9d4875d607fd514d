"""What independent repeats say of a gradient: variance, signal to noise, bias, each with its error.

A block of D parameters is drawn n = R m times, in R repeats of m independent draws g_i. Each repeat r leaves its mean
m_r and its mean square s_r = (1/m) sum_i |g_i|^2; all that follows is a function of the inner products of the m_r, an
R x R matrix, and so are those of the mean without repeat r, from which the jackknife makes error bars:

    se^2 = (R - 1)/R sum_r (theta_(r) - mean theta_(.))^2,     theta +- t_{R-1} se

(Efron and Stein 1981), which assumes nothing of how g is distributed. With g-bar the mean of all draws,

    variance        tr Cov(g) = n/(n-1) (mean s_r - |g-bar|^2)
    signal          |E g|^2   = |g-bar|^2 - tr Cov(g) / n                               (both unbiased)
    snr             |E g| / sqrt(tr Cov(g)),    the block's own; of one draw

**Bias** is tested against a reference mu: the exact gradient, or independent draws of an estimator that is unbiased.
Two t-tests on scalars, which hold in any number of dimensions:

    along     <m_r - mu, mu_A> / |mu|^2: the relative error of the length, such as a factor of 1.02
    across    <m_r - mu, u>, r in the second half of the repeats, with u the first half's own guess of the bias,
              mean_A m - mu_A: whatever direction it has, that direction does not depend on the draws it is tested on

mu_A and mu_B are the two halves of a reference that was drawn, and both the gradient where it is exact. ``across`` is
one-sided: only a bias that both halves share makes it large. A block's p-value is twice the smaller of the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Bias",
    "Interval",
    "Moments",
    "Reference",
    "bias_of",
    "jackknife",
    "mean_interval",
    "normal_score",
    "student_quantile",
]

MOST = 38.0
"""The z-score of the smallest p-value that a double can hold."""

_ROUNDING = 1e-14


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Moments:
    """The repeats of one block of one estimator.

    ``gram``: <m_r, m_s>, (R, R); ``squares``: s_r, (R,); both float64. ``size``: m, the draws of a repeat.
    """

    gram: Tensor
    squares: Tensor
    size: int

    @property
    def repeats(self) -> int:
        """R."""
        return len(self.squares)

    def variance(self, level: float) -> Interval:
        """tr Cov(g) of one draw."""
        return _positive(jackknife(*self._variances(), level))

    def snr(self, level: float) -> Interval:
        """|E g| / sqrt(tr Cov(g)) of one draw; infinite where the variance alone is zero, and 0 where g is."""
        pairs = zip(self._signals(), self._variances(), strict=True)
        whole, without = ((signal / variance).nan_to_num(0.0, math.inf) for signal, variance in pairs)
        if not math.isfinite(float(whole)):
            return Interval(math.inf, math.inf, math.inf)
        squared = jackknife(whole, without, level)
        return Interval(*(math.sqrt(max(0.0, end)) for end in (squared.value, squared.low, squared.high)))

    def work(self, seconds: Tensor, level: float) -> Interval:
        """Variance times the seconds of a draw, (R,): the variance that one second of drawing leaves."""
        whole, without = self._variances()
        return _positive(jackknife(whole * seconds.mean(), without * _mean_without(seconds), level))

    def _variances(self) -> tuple[Tensor, Tensor]:
        """tr Cov(g) from all repeats, (), and without each one, (R,)."""
        draws, fewer = self.repeats * self.size, (self.repeats - 1) * self.size
        whole, without = self._squared_means()
        spread, spread_without = self.squares.mean() - whole, _mean_without(self.squares) - without
        return draws / (draws - 1) * _nonzero(spread, whole), fewer / (fewer - 1) * _nonzero(spread_without, without)

    def _signals(self) -> tuple[Tensor, Tensor]:
        """|E g|^2 from all repeats, and without each one."""
        (whole, without), (variance, variance_without) = self._squared_means(), self._variances()
        draws = self.repeats * self.size
        return whole - variance / draws, without - variance_without / (draws - self.size)

    def _squared_means(self) -> tuple[Tensor, Tensor]:
        """|g-bar|^2 from all repeats, and without each one."""
        total = self.gram.sum()
        without = total - 2 * self.gram.sum(1) + self.gram.diagonal()
        return total / self.repeats**2, without / (self.repeats - 1) ** 2


@dataclass(frozen=True)
class Reference:
    """What bias is measured from, for one block: the inner products with R' vectors.

    R' is 1 for an exact gradient, and otherwise R: the reference has as many repeats.
    ``gram``: (R', R') among them; ``cross``: (R, R') with the estimator's repeats.
    """

    gram: Tensor
    cross: Tensor
    rounding: float
    """The relative error of one gradient's arithmetic: differences below it are none."""

    @property
    def halves(self) -> tuple[slice, slice]:
        """The rows of mu_A and of mu_B."""
        half = len(self.gram) // 2
        return (slice(0, half), slice(half, None)) if half else (slice(0, 1), slice(0, 1))


@dataclass(frozen=True)
class Bias:
    """The bias of one block.

    ``along``: the relative error of the mean gradient along the reference; ``size``: the length of the bias, relative
    to the reference's. ``z_along`` and ``z_across`` are the normal scores of the two tests, ``p_value`` that of the
    block; ``resolution`` is the smallest relative error along the reference that would have stood out.
    """

    along: Interval
    size: Interval
    z_along: float
    z_across: float
    p_value: float
    resolution: float

    @property
    def z(self) -> float:
        """The score of the test that stands out more."""
        return self.z_along if abs(self.z_along) >= self.z_across else self.z_across


def bias_of(moments: Moments, reference: Reference, level: float, alpha: float) -> Bias:
    """The bias of a block against a reference.

    Args:
        moments: of the estimator.
        reference: independent of its draws.
        level: of the confidence intervals, such as 0.95.
        alpha: the rate of false alarms that one block is allowed, for ``resolution``.
    """
    first, second = reference.halves
    half = moments.repeats // 2
    mu, cross = reference.gram, reference.cross
    squared = float(mu[first][:, second].mean())  # |mu|^2
    along = _difference(cross[:, first].mean(1), mu[second][:, first].mean(1), reference.rounding * abs(squared))
    guess = _on_guess(moments.gram, reference, half)
    across = _difference(guess[0], guess[1], reference.rounding * math.sqrt(abs(squared)))
    p_along, p_across = 2 * _tail(abs(along.t), along.df), _tail(across.t, across.df)
    relative = _scaled(along, squared, level)
    return Bias(
        relative,
        _relative_size(moments, reference, squared, level),
        math.copysign(normal_score(p_along), along.t),
        _score(p_across),
        min(1.0, 2 * min(p_along, p_across)),
        (student_quantile(alpha / 4, along.df) * along.error / squared) if squared > 0 else math.inf,
    )


def jackknife(whole: Tensor, without: Tensor, level: float) -> Interval:
    """An estimate from R repeats, (), with its interval from those without each repeat, (R,)."""
    repeats = len(without)
    error = math.sqrt((repeats - 1) / repeats * float((without - without.mean()).square().sum()))
    width = student_quantile((1 - level) / 2, repeats - 1) * error
    return Interval(float(whole), float(whole) - width, float(whole) + width)


def mean_interval(values: Tensor, level: float) -> Interval:
    """The mean of one number a repeat, (R,), by Student's t."""
    return jackknife(values.mean(), _mean_without(values), level)


def normal_score(p_value: float) -> float:
    """The |z| of a two-sided p-value."""
    return abs(_score(p_value / 2))


@dataclass(frozen=True)
class _Difference:
    """Welch's t of a difference of two means."""

    value: float
    error: float
    df: float

    @property
    def t(self) -> float:
        return self.value / self.error if self.error > 0 else 0.0


def _difference(own: Tensor, reference: Tensor, rounding: float) -> _Difference:
    """The means' difference; a reference of one row is exact. Rounding bounds the error from below."""
    parts = [float(values.var()) / len(values) if len(values) > 1 else 0.0 for values in (own, reference)]
    error = sum(parts)
    sizes = [max(len(values) - 1, 1) for values in (own, reference)]
    df = error**2 / sum(part**2 / size for part, size in zip(parts, sizes, strict=True)) if error > 0 else sizes[0]
    value = float(own.mean() - reference.mean())
    return _Difference(value, math.hypot(math.sqrt(error), rounding), df)


def _on_guess(gram: Tensor, reference: Reference, half: int) -> tuple[Tensor, Tensor]:
    """The second halves, estimator's and reference's, projected on the bias that the first halves guess.

    Projections are on u / |u|.
    """
    first, second = reference.halves
    own = gram[half:, :half].mean(1) - reference.cross[half:, first].mean(1)
    other = reference.cross[:half, second].mean(0) - reference.gram[second][:, first].mean(1)
    length = gram[:half, :half].mean() - 2 * reference.cross[:half, first].mean() + reference.gram[first, first].mean()
    least = reference.rounding**2 * reference.gram[first, first].mean()  # below it u is rounding and no direction
    length = torch.maximum(length, least).clamp_min(torch.finfo(gram.dtype).tiny).sqrt()
    return own / length, other / length


def _relative_size(moments: Moments, reference: Reference, squared: float, level: float) -> Interval:
    """|E g - mu| / |mu|, by the mean of <d_r, d_s> over repeats r != s, whose expectation is |E g - mu|^2.

    d_r is the difference of the estimator's and the reference's repeat r, or of the estimator's and the exact gradient.
    """
    repeats = moments.repeats
    pairs = moments.gram - reference.cross - reference.cross.T + reference.gram  # <d_r, d_s>
    pairs = pairs - pairs.diagonal().diag()
    whole, without = pairs.sum(), pairs.sum() - 2 * pairs.sum(1)
    squares = jackknife(whole / (repeats * (repeats - 1)), without / ((repeats - 1) * (repeats - 2)), level)
    ends = (squares.value, squares.low, squares.high)
    return Interval(*(math.sqrt(max(0.0, end) / squared) if squared > 0 else math.nan for end in ends))


def _scaled(difference: _Difference, by: float, level: float) -> Interval:
    if by <= 0:
        return Interval(math.nan, math.nan, math.nan)
    width = student_quantile((1 - level) / 2, difference.df) * difference.error
    return Interval(*(v / by for v in (difference.value, difference.value - width, difference.value + width)))


def _score(tail: float) -> float:
    """The standard normal's value with this probability above it."""
    from scipy.special import ndtri

    return max(-MOST, min(MOST, -float(ndtri(tail))))


def _tail(t: float, df: float) -> float:
    """The probability above ``t`` of Student's t."""
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def student_quantile(tail: float, df: float) -> float:
    """Student's t with this probability above it, ``df`` its degrees of freedom.

    >>> round(student_quantile(0.025, 9), 3)
    2.262
    """
    from scipy.special import stdtrit

    return -float(stdtrit(df, tail))


def _nonzero(spread: Tensor, squared: Tensor) -> Tensor:
    """A mean square less a squared mean, zero where it is what rounding leaves of equal numbers."""
    return torch.where(spread > _ROUNDING * squared, spread, 0.0)


def _positive(interval: Interval) -> Interval:
    return Interval(interval.value, max(0.0, interval.low), interval.high)


def _mean_without(values: Tensor) -> Tensor:
    """The mean of the other repeats, (R,)."""
    return (values.sum() - values) / (len(values) - 1)
