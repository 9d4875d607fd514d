"""The discretized logistic: a distribution over levels, exact where the textbook formula is not."""

import math

import pytest
import torch
from pyro.distributions import Bernoulli
from scipy.stats import chisquare
from torch import Tensor

from ppgen.distributions.discretized_logistic import DiscretizedLogistic
from ppgen.errors import UsageError

LOCS = torch.tensor([-2.0, 0.0, 0.1, 0.5, 0.98, 1.0, 3.0], dtype=torch.float64)
LOG_SCALES = torch.tensor([-6.0, -3.0, -1.0, 0.0, 4.0], dtype=torch.float64)


def grid(levels: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """All values, (levels,)."""
    return torch.arange(levels, dtype=dtype) / (levels - 1)


def table(levels: int) -> tuple[Tensor, DiscretizedLogistic]:
    """The values (levels, 1, 1), and a distribution for each pair of parameters."""
    return grid(levels)[:, None, None], DiscretizedLogistic(LOCS, LOG_SCALES[:, None], levels)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_probabilities_of_all_levels_sum_to_one(levels: int) -> None:
    x, logistic = table(levels)
    total = logistic.log_prob(x).exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)  # 256 float64 roundings


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_log_prob_is_the_difference_of_the_edges_probabilities(levels: int) -> None:
    x, logistic = table(levels)
    half, scale = 0.5 / (levels - 1), LOG_SCALES[:, None].exp()
    above = torch.where(x == 1, torch.tensor(math.inf), (x + half - LOCS) / scale)
    below = torch.where(x == 0, torch.tensor(-math.inf), (x - half - LOCS) / scale)
    naive = above.sigmoid() - below.sigmoid()
    held = naive > 1e-4  # the difference itself keeps twelve digits there
    torch.testing.assert_close(logistic.log_prob(x).exp()[held], naive[held], rtol=1e-11, atol=0)
    assert held.float().mean() > 0.3


def test_two_levels_are_a_bernoulli() -> None:
    x, logistic = table(2)
    bernoulli = Bernoulli(logits=(LOCS - 0.5) / LOG_SCALES[:, None].exp())
    torch.testing.assert_close(logistic.log_prob(x), bernoulli.log_prob(x), rtol=1e-12, atol=1e-15)


def test_the_far_tail_is_exact_in_float32() -> None:
    """Far above loc, P(x) = exp(-A) (1 - exp(-D)), where a difference of sigmoids is 0 in float32."""
    x, loc, scale = 100 / 255, -1.0, 0.01
    logistic = DiscretizedLogistic(torch.tensor(loc), torch.tensor(scale).log(), 256)
    expected = -(x - 0.5 / 255 - loc) / scale + math.log(-math.expm1(-1 / 255 / scale))
    assert logistic.log_prob(torch.tensor(x)).item() == pytest.approx(expected, rel=1e-6)


def test_wide_scales_are_exact_in_float32() -> None:
    logistic = DiscretizedLogistic(torch.tensor(0.5), torch.tensor(12.0), 256)
    expected = -12 - math.log(255 * 4)  # density 1 / 4s times the width of a bin
    assert logistic.log_prob(torch.tensor(100 / 255)).item() == pytest.approx(expected, rel=1e-6)


def test_gradients_agree_with_finite_differences() -> None:
    x = grid(5)[:, None]
    loc = torch.tensor([0.2, 0.9], dtype=torch.float64, requires_grad=True)
    log_scale = torch.tensor([-1.5, 0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, s: DiscretizedLogistic(m, s, 5).log_prob(x), (loc, log_scale))


def test_gradients_are_finite_in_the_tails() -> None:
    loc = torch.full((256,), -4.0, requires_grad=True)
    log_scale = torch.full((256,), -6.0, requires_grad=True)
    DiscretizedLogistic(loc, log_scale, 256).log_prob(grid(256, torch.float32)).sum().backward()
    assert loc.grad is not None
    assert log_scale.grad is not None
    assert loc.grad.isfinite().all()
    assert log_scale.grad.isfinite().all()


def test_samples_have_the_probabilities_of_log_prob() -> None:
    """Chi-square over five levels; false alarms at this level: 1 in 10,000, and the seed is fixed."""
    logistic = DiscretizedLogistic(torch.tensor(0.3), torch.tensor(-1.2), 5)
    counts = (logistic.sample((20_000,)) * 4).round().long().bincount(minlength=5)
    expected = logistic.log_prob(grid(5)).exp()
    assert chisquare(counts.numpy(), (20_000 * expected / expected.sum()).numpy()).pvalue > 1e-4


def test_samples_lie_in_the_support_and_have_its_shape() -> None:
    logistic = DiscretizedLogistic(torch.linspace(-1, 2, 4), torch.zeros(3, 1), 17)
    x = logistic.sample((2,))
    assert x.shape == (2, 3, 4)
    assert logistic.support.check(x).all()


def test_mean_is_the_sum_over_levels() -> None:
    x, logistic = table(17)
    torch.testing.assert_close(logistic.mean, (x * logistic.log_prob(x).exp()).sum(0), rtol=1e-12, atol=1e-14)


def test_expanding_keeps_the_log_prob() -> None:
    logistic = DiscretizedLogistic(torch.zeros(4), torch.zeros(1), 3)
    expanded = logistic.expand((5, 2, 4))
    assert expanded.batch_shape == (5, 2, 4)
    x = torch.tensor(0.5)
    # rounding apart: numbers that do not lie side by side are not given to vector instructions
    torch.testing.assert_close(expanded.log_prob(x), logistic.log_prob(x).expand(5, 2, 4))


def test_every_float32_level_is_in_the_support() -> None:
    logistic = DiscretizedLogistic(torch.tensor(0.5), torch.tensor(0.0), 256)
    assert logistic.log_prob(grid(256, torch.float32)).isfinite().all()


@pytest.mark.parametrize("value", [0.5 / 255, -1 / 255, 256 / 255, 255.0, math.nan])
def test_a_value_between_levels_or_beyond_is_refused(value: float) -> None:
    logistic = DiscretizedLogistic(torch.tensor(0.5), torch.tensor(0.0), 256)
    with pytest.raises(ValueError, match="support"):
        logistic.log_prob(torch.tensor(value))


def test_one_level_is_refused() -> None:
    with pytest.raises(UsageError, match="levels of DiscretizedLogistic must be at least 2, got 1"):
        DiscretizedLogistic(torch.tensor(0.5), torch.tensor(0.0), 1)
