"""Ranks, bands and tests of uniformity against enumeration of every multinomial outcome, and by hand."""

from itertools import product
from math import factorial

import numpy as np
import pytest
import torch
from scipy.stats import binom, ks_2samp

from ppgen.diagnostics.uniformity import (
    ecdf_band,
    ecdf_counts,
    interval_error,
    interval_noise,
    randomised_ranks,
    simultaneous_coverage,
    symmetry_p,
    uniformity_p,
)


def outcomes(num: int, num_draws: int) -> list[tuple[list[int], float]]:
    """Every table of how many of ``num`` ranks take each of L + 1 values, with its multinomial probability."""
    found = []
    for table in product(range(num + 1), repeat=num_draws + 1):
        if sum(table) == num:
            ways = factorial(num)
            for size in table:
                ways //= factorial(size)
            found.append(([*table], ways / (num_draws + 1) ** num))
    return found


def ranks_of(table: list[int]) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(table)), torch.tensor(table))[:, None]


@pytest.mark.parametrize(("num", "num_draws"), [(5, 3), (8, 2), (3, 4)])
def test_simultaneous_coverage_is_the_sum_over_all_outcomes(num: int, num_draws: int) -> None:
    random = np.random.RandomState(0)
    for _ in range(10):
        lower, upper = np.sort(random.randint(0, num + 1, (2, num_draws)), 0)
        inside = sum(
            mass
            for table, mass in outcomes(num, num_draws)
            if ((lower <= np.cumsum(table)[:-1]) & (np.cumsum(table)[:-1] <= upper)).all()
        )
        assert simultaneous_coverage(lower, upper, num) == pytest.approx(inside, abs=1e-12)


def test_a_band_of_one_count_is_that_of_a_binomial() -> None:
    """L = 1: the ranks are 0 or 1, and c_1 is Binomial(N, 1/2)."""
    covered = simultaneous_coverage(np.array([40]), np.array([60]), 100)
    assert covered == pytest.approx(binom.cdf(60, 100, 0.5) - binom.cdf(39, 100, 0.5), abs=1e-12)


def test_every_outcome_is_in_the_widest_band() -> None:
    assert simultaneous_coverage(np.zeros(99, int), np.full(99, 1000), 1000) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize(("num", "num_draws"), [(5, 3), (8, 2)])
def test_p_values_are_exact_under_uniformity(num: int, num_draws: int) -> None:
    """P(p <= t) <= t, with equality at every value that p takes: summed over all outcomes."""
    tables = outcomes(num, num_draws)
    p = torch.cat([uniformity_p(ranks_of(table), num_draws) for table, _ in tables])
    mass = torch.tensor([probability for _, probability in tables], dtype=torch.float64)
    for value in p.unique():
        assert float(mass[p <= value + 1e-9].sum()) == pytest.approx(float(value), abs=1e-9)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_the_band_keeps_its_promise_and_not_much_more(alpha: float) -> None:
    """Binomials are discrete: the coverage exceeds 1 - alpha by what one step of the level changes."""
    lower, upper = ecdf_band(250, 20, alpha)
    covered = simultaneous_coverage(lower.numpy(), upper.numpy(), 250)
    assert 1 - alpha <= covered < 1 - 0.9 * alpha


def test_ranks_that_cannot_be_uniform_have_a_p_value_that_is_a_bound() -> None:
    """All of 500 ranks are 0: c_1 = 500 has probability 100^-500."""
    assert 0 <= float(uniformity_p(torch.zeros(500, 1, dtype=torch.int64), 99)) < 1e-100


def test_ranks_outside_the_band_are_those_with_a_small_p_value() -> None:
    """Of skewed ranks of ever more power; band and test are two sides of one statistic."""
    lower, upper = ecdf_band(100, 19, 0.05)
    seen = set()
    for power in torch.linspace(1, 1.8, 60, dtype=torch.float64):
        ranks = (20 * torch.rand(100, 1, dtype=torch.float64).pow(power)).long()
        counts = ecdf_counts(ranks, 19)[:, 0]
        outside = bool(((counts < lower) | (counts > upper)).any())
        assert outside == (float(uniformity_p(ranks, 19)) <= 0.05)
        seen.add(outside)
    assert seen == {True, False}


def test_ranks_count_draws_below_and_break_ties_evenly() -> None:
    """A truth of 1 among draws 0, 1, 1, 2: ranks 1, 2 and 3 alike. 30,000 times; 5 standard errors."""
    draws = torch.tensor([0.0, 1.0, 1.0, 2.0])[:, None, None].expand(4, 30_000, 1)
    ranks = randomised_ranks(draws, torch.ones(30_000, 1))[:, 0]
    share = torch.bincount(ranks, minlength=5) / 30_000
    assert share[[0, 4]].eq(0).all()
    assert (share[1:4] - 1 / 3).abs().max() < 5 * (2 / 9 / 30_000) ** 0.5


def test_counts_are_those_of_ranks_below() -> None:
    ranks = torch.tensor([[0, 4], [2, 4], [2, 1]])
    assert ecdf_counts(ranks, 4).T.tolist() == [[1, 1, 3, 3], [0, 1, 1, 1]]


def test_symmetric_shares_are_rejected_no_more_often_than_stated() -> None:
    """400 columns of 40 Beta(1/2, 1/2) shares; at most 0.05 + 4.5 standard errors reject at 0.05 (3 in a million)."""
    shares = torch.distributions.Beta(torch.tensor(0.5), torch.tensor(0.5)).sample((40, 400)).double()
    rate = float((symmetry_p(shares) <= 0.05).double().mean())
    assert rate < 0.05 + 4.5 * (0.05 * 0.95 / 400) ** 0.5


def test_the_p_value_of_symmetry_is_the_share_of_flips_that_are_as_far() -> None:
    """Against all 64 flips of 6 shares, with SciPy's two-sample statistic; 9,999 flips, 5 standard errors each."""
    for _ in range(5):
        offset = torch.rand(6, dtype=torch.float64) - 0.35
        flips = [offset * torch.tensor(signs) for signs in product([1, -1], repeat=6)]
        distances = torch.tensor([ks_2samp(flip, -flip).statistic for flip in flips])
        exact = float((distances >= distances[0] - 1e-9).double().mean())
        assert float(symmetry_p(offset[:, None] + 0.5)) == pytest.approx(exact, abs=1e-4 + 5 * (0.25 / 9999) ** 0.5)


def test_the_p_value_of_one_sided_shares_is_that_of_a_coin() -> None:
    """All of 6 shares are above 1/2: as far as can be; a flip is as far with probability 2 / 2^6.

    9,999 flips; within 5 standard errors (1 in 1.7 million).
    """
    p = float(symmetry_p(torch.linspace(0.6, 0.9, 6)[:, None]))
    assert p == pytest.approx(1 / 32, abs=1e-4 + 5 * (1 / 32 / 9999) ** 0.5)


def test_asymmetry_is_seen_where_the_mean_is_in_the_middle() -> None:
    """Three parts in ten at 0.9 and the rest spread about 0.33: the mean is 1/2."""
    shares = torch.cat([torch.full((60,), 0.9), torch.linspace(0.25, 0.407, 140)])[:, None]
    assert float(symmetry_p(shares)) == 1e-4


def test_the_error_of_an_interval_is_the_largest_over_all_intervals_of_ranks() -> None:
    ranks = torch.randint(0, 8, (30, 3))
    for column, found in enumerate(interval_error(ranks, 7).tolist()):
        shares = torch.bincount(ranks[:, column], minlength=8) / 30 - 1 / 8
        every = [abs(float(shares[i:j].sum())) for i in range(8) for j in range(i + 1, 9)]
        assert found == pytest.approx(max(every), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 0.01])
def test_noise_of_an_interval_is_exceeded_at_most_as_often_as_stated_and_not_far_less(alpha: float) -> None:
    """4,000 columns of 400 ranks among 199 draws, nearly continuous. Five standard errors above (1 in 3 million)."""
    ranks = torch.randint(0, 200, (400, 4000))
    error = torch.cat([interval_error(part, 199) for part in ranks.split(100, 1)])
    found = float((error > interval_noise(400, alpha)).double().mean())
    assert 0.4 * alpha < found < alpha + 5 * (alpha * (1 - alpha) / 4000) ** 0.5
