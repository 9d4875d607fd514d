"""Intervals cover, tests raise the alarms that they should and no more, on draws whose law is known."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from ppgen.measuring.statistics import Bias, Interval, Moments, Reference, bias_of, jackknife, normal_score
from tests.marks import thorough

SIZE, LEVEL, ALPHA = 8, 0.95, 1e-4
FALSE_ALARM = 1e-3
"""Of each stochastic test here, by the binomial law of its replications; the seed is fixed by ``conftest``."""


def moments(draws: Tensor) -> Moments:
    """Of draws (R, m, D)."""
    means = draws.mean(1)
    return Moments(means @ means.T, draws.square().sum(2).mean(1), draws.shape[1])


def reference(draws: Tensor, mu: Tensor) -> Reference:
    """Of draws (R, m, D) against ``mu``: exact (1, D), or the means of a reference's repeats, (R, D)."""
    return Reference(mu @ mu.T, draws.mean(1) @ mu.T, rounding=1e-6)


def bias(draws: Tensor, mu: Tensor) -> Bias:
    return bias_of(moments(draws), reference(draws, mu), LEVEL, ALPHA)


def gaussian(repeats: int, mean: Tensor, scale: Tensor) -> Tensor:
    return mean + scale * torch.randn(repeats, SIZE, len(mean), dtype=torch.float64)


def skewed(repeats: int, mean: Tensor, scale: Tensor) -> Tensor:
    """Exponential draws, of skewness 2."""
    return mean + scale * (torch.empty(repeats, SIZE, len(mean), dtype=torch.float64).exponential_() - 1)


def covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def within(found: int, of: int, probability: float) -> bool:
    """Whether a count is one that the binomial law gives, but for ``FALSE_ALARM``."""
    low, high = stats.binom.interval(1 - FALSE_ALARM, of, probability)
    return bool(low <= found <= high)


MEAN = torch.tensor([1.0, -0.5, 0.3, 0.0], dtype=torch.float64)
SCALE = torch.tensor([2.0, 1.0, 0.5, 3.0], dtype=torch.float64)


def test_variance_and_snr_are_the_textbook_ones_of_the_draws() -> None:
    draws = gaussian(32, MEAN, SCALE)
    flat = draws.reshape(-1, len(MEAN))
    variance = flat.var(0).sum()
    signal = flat.mean(0).square().sum() - variance / len(flat)
    found = moments(draws)
    assert found.variance(LEVEL).value == pytest.approx(float(variance))
    assert found.snr(LEVEL).value == pytest.approx(float((signal / variance).sqrt()))
    assert found.work(torch.full((32,), 0.2, dtype=torch.float64), LEVEL).value == pytest.approx(0.2 * float(variance))


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    values = torch.randn(20, dtype=torch.float64)
    found = jackknife(values.mean(), (values.sum() - values) / 19, 0.9)
    low, high = stats.t.interval(0.9, 19, loc=float(values.mean()), scale=float(values.std()) / math.sqrt(20))
    assert [found.low, found.high] == pytest.approx([low, high])


@pytest.mark.parametrize("snr", [0.05, 0.5, 2.0])
def test_intervals_cover_as_often_as_they_say(snr: float) -> None:
    """400 replications; of a positive snr, whose square is estimated without bias, and of the variance."""
    mean = MEAN * snr * math.sqrt(float(SCALE.square().sum() / MEAN.square().sum()))
    found = [moments(gaussian(64, mean, SCALE)) for _ in range(400)]
    assert within(sum(covers(one.variance(LEVEL), float(SCALE.square().sum())) for one in found), 400, LEVEL)
    assert within(sum(covers(one.snr(LEVEL), snr) for one in found), 400, LEVEL)


def test_intervals_of_skewed_draws_cover_at_least_nine_times_in_ten() -> None:
    found = [moments(skewed(64, MEAN, SCALE)).variance(LEVEL) for _ in range(400)]
    covered = sum(covers(one, float(SCALE.square().sum())) for one in found)
    assert covered > stats.binom.ppf(FALSE_ALARM, 400, 0.9)


def test_the_interval_of_the_work_holds_the_spread_of_the_time() -> None:
    draws, steady = gaussian(64, MEAN, 0.01 * SCALE + 1), torch.full((64,), 0.2, dtype=torch.float64)
    noisy = steady * torch.rand(64, dtype=torch.float64) * 2
    widths = [one.high - one.low for one in (moments(draws).work(seconds, LEVEL) for seconds in (steady, noisy))]
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize(("dims", "drawn"), [(1, False), (50, True), *thorough([(50, False), (1, True)])])
def test_alarms_are_as_rare_as_the_level_says(dims: int, drawn: bool) -> None:
    """2,000 replications at 5%: not more alarms than that, and since the two tests share the level, not many fewer."""
    mean, scale = torch.randn(dims, dtype=torch.float64), torch.rand(dims, dtype=torch.float64) + 0.1
    alarms = 0
    for _ in range(2000):
        mu = gaussian(32, mean, scale).mean(1) if drawn else mean[None]
        alarms += bias(gaussian(32, mean, scale), mu).p_value < 0.05
    assert alarms <= stats.binom.ppf(1 - FALSE_ALARM, 2000, 0.05)
    assert alarms >= 40


@pytest.mark.parametrize("drawn", [False, True], ids=["exact", "drawn"])
def test_a_bias_of_two_percent_is_caught_where_the_resolution_says_so(drawn: bool) -> None:
    mean, scale = torch.randn(50, dtype=torch.float64), torch.full((50,), 0.5, dtype=torch.float64)
    draws = 1.02 * gaussian(64 * 40, mean, scale).reshape(64, -1, 50)
    mu = gaussian(64 * 40, mean, scale).reshape(64, -1, 50).mean(1) if drawn else mean[None]
    found = bias(draws, mu)
    assert found.resolution < 0.013  # 0.02 is then five of its standard errors beyond what stands out
    assert found.p_value < ALPHA
    assert covers(found.along, 0.02)
    assert found.z_along > 0


@pytest.mark.parametrize("factor", [-1.0, 0.0, 2.0])
def test_a_wrong_sign_a_missing_term_and_a_factor_are_caught_and_sized(factor: float) -> None:
    found = bias(factor * gaussian(32, MEAN, SCALE / 4), MEAN[None])
    assert found.p_value < ALPHA
    assert covers(found.along, factor - 1)
    assert covers(found.size, abs(factor - 1))


@pytest.mark.parametrize("drawn", [False, True], ids=["exact", "drawn"])
def test_a_bias_at_right_angles_to_the_gradient_is_caught_across(drawn: bool) -> None:
    mean, off = torch.zeros(100, dtype=torch.float64), torch.zeros(100, dtype=torch.float64)
    mean[0], off[1:] = 1.0, 0.02  # 0.2 long
    mu = gaussian(64, mean, torch.full_like(mean, 0.1)).mean(1) if drawn else mean[None]
    found = bias(gaussian(64, mean + off, torch.full_like(mean, 0.1)), mu)
    assert found.z_across > 6
    assert abs(found.z_along) < 5
    assert covers(found.size, float(off.norm()))


def test_a_bias_where_the_exact_gradient_is_zero_is_caught() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    assert bias(gaussian(32, zero + 1, zero + 1), zero[None]).p_value < ALPHA
    assert math.isinf(bias(gaussian(32, zero, zero + 1), zero[None]).resolution)


@pytest.mark.parametrize("error", [0.0, 1e-16, 1e-15, 1e-12, 1e-9])
def test_draws_without_variance_raise_no_alarm_over_rounding(error: float) -> None:
    for _ in range(50):
        mean = torch.randn(5, dtype=torch.float64)
        off = mean * (1 + error * torch.randn(5, dtype=torch.float64))
        assert bias(off.expand(32, SIZE, -1), mean[None]).p_value > 0.01


def test_draws_without_variance_have_infinite_snr_and_their_bias_is_caught() -> None:
    draws = MEAN.expand(32, SIZE, -1)
    assert moments(draws).variance(LEVEL) == Interval(0.0, 0.0, 0.0)
    assert math.isinf(moments(draws).snr(LEVEL).value)
    assert bias(1.02 * draws, MEAN[None]).p_value < ALPHA


def test_a_gradient_of_zero_has_no_signal() -> None:
    assert moments(torch.zeros(32, SIZE, 2, dtype=torch.float64)).snr(LEVEL) == Interval(0.0, 0.0, 0.0)


def test_the_normal_score_is_that_of_the_two_sided_p_value() -> None:
    assert normal_score(2 * stats.norm.sf(3.0)) == pytest.approx(3.0)
    assert normal_score(0.0) == 38.0
