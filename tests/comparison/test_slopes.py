"""Powers of the number of particles: known laws found, intervals that cover, and what misfits them."""

from __future__ import annotations

import math

import pytest
import torch

from ppgen.comparison.slopes import power_law
from ppgen.measuring.statistics import Interval


def measured(true: list[float], error: float) -> list[Interval]:
    """Intervals of level 0.95 around log-normal measurements."""
    found = [math.exp(math.log(v) + error * float(torch.randn(()))) for v in true]
    return [Interval(v, v * (1 - 1.96 * error), v * (1 + 1.96 * error)) for v in found]


@pytest.mark.parametrize("particles", [[1, 4, 16], [1, 2, 4, 8, 16]], ids=len)
def test_intervals_of_slope_and_of_other_numbers_cover_the_law(particles: list[int]) -> None:
    """400 experiments: 380 expected inside, and 4.4 standard deviations are 19."""
    torch.manual_seed(0)
    slope, further = -0.8, 3.0 * 64**-0.8
    inside = [0, 0]
    for _ in range(400):
        law = power_law(particles, measured([3.0 * k**slope for k in particles], 0.03), level=0.95)
        inside[0] += law.slope.low <= slope <= law.slope.high
        inside[1] += law.at(64).low <= further <= law.at(64).high
    assert min(inside) > 361  # points off the line only widen intervals


def test_errors_are_those_of_two_points() -> None:
    law = power_law([1, 4], [Interval(2.0, 1.6, 2.4), Interval(1.0, 0.8, 1.2)], level=0.95)
    assert law.slope.value == pytest.approx(-0.5)
    assert law.slope.high - law.slope.value == pytest.approx(0.2 * math.sqrt(2) / math.log(4), rel=1e-6)
    assert law.at(4).high == pytest.approx(math.exp(0.2), rel=1e-6)


def test_points_off_the_line_widen_the_intervals() -> None:
    tight = [Interval(v, 0.999 * v, 1.001 * v) for v in (1.0, 0.7, 0.1)]
    law = power_law([1, 4, 16], tight, level=0.95)
    alone = power_law([1, 16], [tight[0], tight[2]], level=0.95)
    assert law.slope.high - law.slope.low > 100 * (alone.slope.high - alone.slope.low)
