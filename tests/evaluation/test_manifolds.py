"""Precision and recall, density and coverage: by hand, and where their values are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.evaluation import density_and_coverage, evaluate, manifolds, precision_and_recall
from ppgen.evaluation.manifolds import expected_coverage
from tests.implicit import Push, plane


def by_hand(samples: Tensor, data: Tensor, k: int) -> list[float]:
    """The four sums of the definitions, ball by ball."""

    def radius(points: Tensor, i: int) -> float:
        return sorted(math.dist(points[i], point) for j, point in enumerate(points) if j != i)[k - 1]

    r = [radius(data, i) for i in range(len(data))]
    big = [radius(samples, j) for j in range(len(samples))]
    n, m = len(data), len(samples)
    inside = [[math.dist(y, x) <= r[i] for i, x in enumerate(data)] for y in samples]
    around = [[math.dist(y, x) <= big[j] for x in data] for j, y in enumerate(samples)]
    return [
        sum(map(any, inside)) / m,
        sum(any(around[j][i] for j in range(m)) for i in range(n)) / n,
        sum(map(sum, inside)) / (m * k),
        sum(any(inside[j][i] for j in range(m)) for i in range(n)) / n,
    ]


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_four_measures_are_those_counted_by_hand(k: int) -> None:
    samples, data = torch.randn(7, 2, dtype=torch.float64), 0.7 + torch.randn(9, 2, dtype=torch.float64)
    found = [*precision_and_recall(samples, data, k=k), *density_and_coverage(samples, data, k=k)]
    assert found == pytest.approx(by_hand(samples, data, k), abs=1e-12)


def test_fresh_data_have_the_density_and_coverage_of_theory() -> None:
    """100 pairs of samples of 40 and 60: within 4 standard errors of the exact expectation, false alarms 1 in 8,000."""
    pairs = [density_and_coverage(torch.randn(40, 2), torch.randn(60, 2), k=3) for _ in range(100)]
    for values, expected in zip(zip(*pairs, strict=True), (1.0, expected_coverage(40, 60, 3)), strict=True):
        each = torch.tensor(values)  # a sample is in the ball of a datum with probability k / n, and there are n balls
        assert abs(float(each.mean()) - expected) < 4 * float(each.std()) / 10


def test_the_expected_coverage_is_the_share_of_orders_with_a_sample_before_the_kth_datum() -> None:
    """Of 3 other data and 2 samples, k = 2: all orders by which two of the three data come first are 3 of 10."""
    assert expected_coverage(2, 4, 2) == pytest.approx(1 - 3 / 10)


def test_samples_apart_from_the_data_have_nothing() -> None:
    x = torch.randn(50, 3)
    assert (precision_and_recall(x + 100, x), density_and_coverage(x + 100, x)) == ((0.0, 0.0), (0.0, 0.0))


def test_a_mode_that_is_left_out_costs_recall_and_coverage_and_not_precision() -> None:
    """Of two far modes with half of the data each, one is drawn: half of the data are not reached."""
    data = torch.cat([torch.randn(100, 2), 1000 + torch.randn(100, 2)])
    found = manifolds(torch.randn(200, 2), data)
    assert not found.recall[100:].any()
    assert not found.coverage[100:].any()
    assert found.recall[:100].mean() > 0.9
    assert found.precision.mean() > 0.9
    assert 0.7 < found.density.mean() < 1.3  # that of fresh data of the mode that is drawn


def test_a_mode_that_is_added_costs_precision_and_density_and_not_recall() -> None:
    samples = torch.cat([torch.randn(100, 2), 1000 + torch.randn(100, 2)])
    found = manifolds(samples, torch.randn(200, 2))
    assert not found.precision[100:].any()
    assert not found.density[100:].any()
    assert found.recall.mean() > 0.9


def test_one_far_datum_costs_precision_and_not_density() -> None:
    """Its ball holds everything: samples anywhere are precise, and lie in one ball of 200."""
    data = torch.cat([torch.randn(199, 2), torch.tensor([[1000.0, 0.0]])])
    far = torch.tensor([500.0, 0.0]) + torch.randn(50, 2)
    assert precision_and_recall(far, data, k=5)[0] == 1
    assert density_and_coverage(far, data, k=5)[0] == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("samples", "data", "k", "sentence"),
    [
        (torch.randn(9, 2), torch.randn(9, 3), 2, r"got \(9, 2\), \(9, 3\) and 2"),
        (torch.randn(9, 2), torch.randn(9, 2), 0, "k of at least 1"),
        (torch.randn(5, 2), torch.randn(9, 2), 5, "need more than 5 of each: give more, or a smaller k"),
        (torch.full((9, 2), math.nan), torch.randn(9, 2), 2, "not finite"),
    ],
)
def test_bad_samples_are_refused_in_a_sentence(samples: Tensor, data: Tensor, k: int, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        manifolds(samples, data, k=k)


def test_an_implicit_pair_is_measured() -> None:
    data = plane(150)
    alike, wide = (evaluate(Push(data.spec, scale), data, num_samples=150).to_json() for scale in (1.0, 10.0))
    for name in ("precision", "density", "coverage", "recall"):
        assert f"{name}_standard_error" in alike
    assert wide["precision"] < 0.3 < 0.8 < alike["precision"]
    assert wide["coverage"] < alike["coverage"]
    assert alike["density"] == pytest.approx(1.0, abs=0.5)
