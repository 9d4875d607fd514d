"""Distances of weighted samples against SciPy, closed forms and grids of quantiles."""

import math

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.distributions import Normal

from ppgen.diagnostics.distances import interval_distance, wasserstein_1, weighted_quantiles


def grid(loc: float, scale: float, num: int = 20_001) -> Tensor:
    """Quantiles of a normal at the middles of equal masses."""
    middles = (torch.arange(num, dtype=torch.float64) + 0.5) / num
    return torch.as_tensor(Normal(loc, scale).icdf(middles))


def random_weights(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64).pow(3).log().softmax(0)


def test_wasserstein_of_weighted_samples_is_that_of_scipy() -> None:
    one, other = torch.randn(30, 4, dtype=torch.float64), 2 * torch.randn(17, 4, dtype=torch.float64).round()
    weight, other_weight = random_weights(30, 4), random_weights(17, 4)
    found = wasserstein_1(one, other, weight, other_weight)
    for column in range(4):
        expected = wasserstein_distance(*(t[:, column].numpy() for t in (one, other, weight, other_weight)))
        assert float(found[column]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("c", [0.5, 0.8, 1.7])
def test_wasserstein_of_normals_of_one_mean_is_the_closed_form(c: float) -> None:
    assert float(wasserstein_1(grid(1, 2), grid(1, 2 * c))) == pytest.approx(
        abs(1 - c) * 2 * math.sqrt(2 / math.pi), rel=1e-3
    )


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    assert float(wasserstein_1(grid(0, 1), grid(-0.75, 1))) == pytest.approx(0.75, abs=1e-9)


def test_wasserstein_of_coins_is_the_difference_of_their_probabilities() -> None:
    states = torch.tensor([0.0, 1.0], dtype=torch.float64)
    p, q = torch.tensor([0.7, 0.3], dtype=torch.float64), torch.tensor([0.45, 0.55], dtype=torch.float64)
    assert float(wasserstein_1(states, states, p, q)) == pytest.approx(0.25, abs=1e-12)


def test_wasserstein_of_a_sample_and_itself_in_another_order_is_zero() -> None:
    values = torch.randn(100, 3, dtype=torch.float64)
    assert wasserstein_1(values, values.flip(0)).abs().max() < 1e-12


def test_weights_count_as_copies() -> None:
    values, copies = torch.randn(5, dtype=torch.float64), torch.tensor([1, 4, 2, 0, 3])
    probabilities = torch.tensor([0.05, 0.31, 0.5, 0.77, 1.0], dtype=torch.float64)
    weight = copies.double() / 10
    many = values.repeat_interleave(copies)
    torch.testing.assert_close(
        weighted_quantiles(values, probabilities, weight), weighted_quantiles(many, probabilities)
    )
    assert float(wasserstein_1(values, many, weight)) == pytest.approx(0, abs=1e-12)


def test_quantiles_of_a_column_are_its_own() -> None:
    values, probabilities = torch.tensor([[3.0, 10.0], [1.0, 30.0], [2.0, 20.0]]), torch.tensor([0.1, 0.5, 1.0])
    assert weighted_quantiles(values, probabilities).tolist() == [[1, 10], [2, 20], [3, 30]]


def test_quantiles_of_a_normal_are_its_own() -> None:
    probabilities = torch.tensor([0.05, 0.25, 0.5, 0.95], dtype=torch.float64)
    found = weighted_quantiles(grid(3, 2)[:, None].expand(-1, 2), probabilities)  # (4, 2)
    torch.testing.assert_close(found, Normal(3.0, 2.0).icdf(probabilities)[:, None].expand(4, 2), rtol=0, atol=1e-3)


def test_the_distance_by_intervals_is_the_largest_over_all_pairs_of_ends() -> None:
    """Of small weighted samples with ties, by going through every interval."""
    one, other = torch.randn(9, dtype=torch.float64).round(), torch.randn(7, dtype=torch.float64).round()
    weight, other_weight = random_weights(9), random_weights(7)
    ends = torch.cat([one, other]).unique()
    largest = max(
        abs(float(weight[(one >= s) & (one <= t)].sum() - other_weight[(other >= s) & (other <= t)].sum()))
        for s in ends
        for t in ends
    )
    assert float(interval_distance(one, other, weight, other_weight)) == pytest.approx(largest, abs=1e-12)


@pytest.mark.parametrize("c", [0.5, 0.8, 1.7])
def test_the_distance_by_intervals_of_normals_of_one_mean_is_their_total_variation(c: float) -> None:
    t = math.sqrt(-2 * math.log(c) / (1 - c * c))
    standard = Normal(0.0, 1.0)
    expected = 2 * abs(float(standard.cdf(torch.tensor(t)) - standard.cdf(torch.tensor(c * t))))
    assert float(interval_distance(grid(1, 2), grid(1, 2 * c))) == pytest.approx(expected, abs=1e-3)


def test_the_distance_by_intervals_of_a_shift_is_the_total_variation() -> None:
    expected = 2 * float(Normal(0.0, 1.0).cdf(torch.tensor(0.75 / 2))) - 1
    assert float(interval_distance(grid(0, 1), grid(-0.75, 1))) == pytest.approx(expected, abs=1e-3)
