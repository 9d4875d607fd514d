"""How draws of a gradient are held against the exact one, on the pairs of ``tests.discrete_doubles``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import NormalDist

import torch
from torch import Tensor

from ppgen.testing.yardsticks import BernoulliYardstick

__all__ = ["CRITICAL", "landed", "largest_z", "relative_error", "total_variance"]

FALSE_ALARM, COMPARISONS = 1e-3, 20_000
CRITICAL = NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * COMPARISONS))
"""|z| beyond which a mean is not the exact one: all comparisons of a run, one for each number of a gradient, together
raise a false alarm with probability below 1e-3 (Bonferroni, at most 20,000 of them)."""


def largest_z(draws: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> float:
    """The largest |mean - exact| / standard error over every number of every parameter."""
    return max(float(((g.mean(0) - exact[name]).abs() / _error(g)).max()) for name, g in draws.items())


def relative_error(draws: Mapping[str, Tensor], exact: Mapping[str, Tensor], names: Iterable[str]) -> float:
    """The smallest standard error over |exact| in a block of parameters: what share of error would be seen there."""
    return min(float((_error(draws[name]) / exact[name].abs()).min()) for name in names)


def total_variance(draws: Mapping[str, Tensor], names: Iterable[str]) -> float:
    """The trace of the covariance of a block of parameters."""
    return sum(float(draws[name].var(0).sum()) for name in names)


def landed() -> BernoulliYardstick:
    """The yardstick with its posterior in the guide: z given x has the log-odds (w x - w^2 / 2) / s^2."""
    pair = BernoulliYardstick()
    with torch.no_grad():
        precision = (-2 * pair.log_s).exp()
        pair.a.copy_(pair.w * precision)
        pair.b.copy_(-pair.w.square() * precision / 2)
    return pair


def _error(draws: Tensor) -> Tensor:
    """Standard errors of means; rounding bounds them from below where the variance is zero."""
    error: Tensor = draws.std(0) / len(draws) ** 0.5
    return error.clamp_min(1e-12)
