"""The kernel two-sample test: its value, its level, its power; and nearness to the training data."""

import math
import statistics
from itertools import combinations

import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.evaluation import evaluate, kernel_two_sample_test
from ppgen.evaluation.memorisation import nearest_distances, nearness
from ppgen.evaluation.two_sample import mmd_squared
from ppgen.models import VAE
from tests.implicit import Push, plane


def brute_force(x: Tensor, y: Tensor, h: float) -> float:
    """The unbiased MMD^2, term by term (Gretton et al. 2012, eq. 3)."""

    def k(a: Tensor, b: Tensor) -> float:
        return math.exp(-float((a - b).square().sum()) / (2 * h**2))

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def median_distance(points: Tensor) -> float:
    """By sorting; the lower of the two in the middle."""
    distances = sorted(float((a - b).norm()) for a, b in combinations(points, 2))
    return distances[(len(distances) - 1) // 2]


def test_the_statistic_is_the_double_sum() -> None:
    x, y = torch.randn(4, 2, dtype=torch.float64), 1 + torch.randn(5, 2, dtype=torch.float64)
    found = kernel_two_sample_test(x, y, num_permutations=1)
    assert found.bandwidth == pytest.approx(median_distance(torch.cat([x, y])))
    assert found.mmd_squared == pytest.approx(brute_force(x, y, found.bandwidth))


def test_every_division_has_the_statistic_of_its_two_parts() -> None:
    points = torch.randn(7, 2, dtype=torch.float64)
    kernel = (torch.cdist(points, points).square() / -2).exp().fill_diagonal_(0)
    chosen = list(combinations(range(7), 3))
    divisions = torch.zeros(len(chosen), 7, dtype=torch.float64)
    for row, members in zip(divisions, chosen, strict=True):
        row[list(members)] = 1
    truth = [brute_force(points[row == 1], points[row == 0], 1.0) for row in divisions]
    torch.testing.assert_close(mmd_squared(kernel, divisions), torch.tensor(truth, dtype=torch.float64))


def test_the_p_value_is_the_share_of_all_divisions() -> None:
    """Of the 70 divisions of 8 points, 20,000 drawn: 4 standard errors, false alarms 6 in 100,000."""
    x, y = torch.randn(4, 1, dtype=torch.float64), 0.8 + torch.randn(4, 1, dtype=torch.float64)
    points, h = torch.cat([x, y]), median_distance(torch.cat([x, y]))
    observed = brute_force(x, y, h)
    values = []
    for members in combinations(range(8), 4):
        others = [i for i in range(8) if i not in members]
        values.append(brute_force(points[list(members)], points[others], h))
    exact = sum(value >= observed - 1e-12 for value in values) / 70
    found = kernel_two_sample_test(x, y, num_permutations=20_000).p_value
    assert abs(found - exact) < 4 * math.sqrt(exact * (1 - exact) / 20_000) + 1 / 20_000


def test_the_p_value_counts_the_division_at_hand() -> None:
    far = kernel_two_sample_test(torch.randn(30, 2), 100 + torch.randn(30, 2), num_permutations=99)
    assert far.p_value == 1 / 100


def test_the_level_is_kept_under_the_null() -> None:
    """400 tests at level 0.1 with p = q: the binomial count of rejections is above 64 with probability 1e-4."""
    p_values = [
        kernel_two_sample_test(torch.randn(12, 2), torch.randn(15, 2), num_permutations=49, seed=seed).p_value
        for seed in range(400)
    ]
    rejections = sum(p <= 0.1 for p in p_values)
    assert rejections <= 64
    assert rejections >= 18  # and it is no test that never rejects: 40 expected, below 18 with probability 1e-5


def test_a_shift_is_found() -> None:
    """100 points a side, shifted by one sd: the power is about 1; of 20 tests none may fail to reject at 0.01."""
    for seed in range(20):
        found = kernel_two_sample_test(torch.randn(100, 2), torch.randn(100, 2) + torch.tensor([1.0, 0]), seed=seed)
        assert found.p_value <= 0.01


def test_the_statistic_is_unbiased_under_the_null() -> None:
    """The mean of 500 is within 4 of its standard errors of 0: false alarms 6 in 100,000."""
    values = torch.tensor(
        [
            kernel_two_sample_test(torch.randn(8, 1), torch.randn(6, 1), num_permutations=1).mmd_squared
            for _ in range(500)
        ]
    )
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(500) + 0.01  # h depends on the sample


def test_the_standard_error_is_the_spread_over_samples() -> None:
    """200 repetitions: an sd known to 5 percent; a tolerance of 4 of these, for a first-order formula."""
    found = [kernel_two_sample_test(torch.randn(80, 2), 1 + torch.randn(60, 2), num_permutations=1) for _ in range(200)]
    spread = float(torch.tensor([one.mmd_squared for one in found]).std())
    assert sum(one.standard_error for one in found) / 200 == pytest.approx(spread, rel=0.2)


def test_the_standard_error_is_that_of_the_projections_summed_pair_by_pair() -> None:
    """2 and 3 points: k(x, others) - k(x, y) of each, its variance over the points times 4 / n."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [2.0], [4.0]])
    found = kernel_two_sample_test(x, y, num_permutations=1)

    def k(a: Tensor, b: Tensor) -> float:
        return math.exp(-float((a - b).square()) / (2 * found.bandwidth**2))

    variance = 0.0
    for own, other in ((x, y), (y, x)):
        within = [sum(k(a, b) for j, b in enumerate(own) if j != i) / (len(own) - 1) for i, a in enumerate(own)]
        across = [sum(k(a, b) for b in other) / len(other) for a in own]
        variance += 4 * statistics.variance(p - q for p, q in zip(within, across, strict=True)) / len(own)
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=1e-6)


def test_the_same_seed_gives_the_same_test_and_the_global_random_state_stays() -> None:
    x, y = torch.randn(2, 20, 2).unbind(0)
    state = torch.get_rng_state()
    assert kernel_two_sample_test(x, y, seed=3) == kernel_two_sample_test(x, y, seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_discrete_data_that_mostly_coincide_have_a_distance() -> None:
    x = torch.zeros(20, 3)
    x[:2] = 1
    assert kernel_two_sample_test(x, x.clone()).bandwidth == pytest.approx(math.sqrt(3))


def test_bad_samples_are_refused_in_a_sentence() -> None:
    x = torch.randn(5, 2)
    for left, right, num, message in (
        (x, torch.randn(5, 3), 9, r"got \(5, 2\) and \(5, 3\)"),
        (x[:1], x, 9, "at least 2 points"),
        (x * math.inf, x, 9, "not finite"),
        (x, x, 0, "num_permutations must be at least 1"),
        (torch.ones(5, 2), torch.ones(5, 2), 9, "all the same"),
    ):
        with pytest.raises(UsageError, match=message):
            kernel_two_sample_test(left, right, num_permutations=num)


def test_nearest_distances_are_the_smallest_of_all() -> None:
    x, train = torch.randn(6, 3), torch.randn(17, 3)
    truth = [min(float((a - b).norm()) for b in train) for a in x]
    torch.testing.assert_close(nearest_distances(x, train), torch.tensor(truth, dtype=torch.float64), rtol=1e-6, atol=0)


def test_the_error_of_nearness_is_that_of_a_u_statistic() -> None:
    """Two samples, below 2 and 1 of three data, which have 0, 1 and 2 samples below them."""
    _, error = nearness(torch.tensor([1.0, 2.5]), torch.tensor([0.5, 2.0, 3.0]))
    of_samples, of_data = torch.tensor([2 / 3, 1 / 3]), torch.tensor([0.0, 0.5, 1.0])
    assert error == pytest.approx(math.sqrt(float(of_samples.var() / 2 + of_data.var() / 3)))


def test_nearness_is_the_share_of_pairs_with_ties_for_half() -> None:
    value, _ = nearness(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0, 0.5]))
    assert value == pytest.approx((2 + 1 + 0.5) / 6)  # 1 < 2, 1 < 3; 2 < 3, 2 = 2


def test_copies_are_nearer_than_data_and_fresh_draws_are_as_near() -> None:
    """Fresh draws: within 4 standard errors of a half, false alarms 6 in 100,000."""
    train, test, fresh = torch.randn(3, 400, 2).unbind(0)
    held_out = nearest_distances(test, train)
    copied, _ = nearness(nearest_distances(train[:200], train), held_out)
    off, _ = nearness(nearest_distances(50 + fresh, train), held_out)
    even, error = nearness(nearest_distances(fresh, train), held_out)
    assert (copied, off) == (1.0, 0.0)
    assert abs(even - 0.5) < 4 * error


def test_an_implicit_pair_is_tested_and_others_where_samples_are_asked_for() -> None:
    data = plane(200)
    alike, apart = (evaluate(Push(data.spec, scale), data, num_samples=200).to_json() for scale in (1.0, 3.0))
    assert alike["two_sample_p_value"] > 0.001  # the smallest possible is 0.001: a false alarm in 1,000
    assert apart["two_sample_p_value"] == 0.001
    assert apart["mmd_squared"] > 4 * apart["mmd_squared_standard_error"]
    assert apart["nearness_to_train"] < alike["nearness_to_train"]
    vae = VAE(data.spec, 2, hidden=(4,))
    assert "mmd_squared" not in evaluate(vae, data, particles=2).to_json()
    assert "mmd_squared" in evaluate(vae, data, particles=2, num_samples=100).to_json()


def test_nearness_of_training_data_to_themselves_is_no_measure() -> None:
    data = plane(50)
    assert "nearness_to_train" not in evaluate(Push(data.spec), data, split="train", num_samples=50).to_json()
