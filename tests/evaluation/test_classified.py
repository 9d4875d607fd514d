"""The classifier two-sample test: its level, its power, its accuracy where the best one is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ppgen.errors import UsageError
from ppgen.evaluation import classifier_two_sample_test, evaluate
from tests.implicit import Push, plane


def test_samples_that_are_alike_are_not_told_apart() -> None:
    """200 tests: the mean accuracy within 4 standard errors of a half, and few p-values below 0.1 (see below)."""
    found = [classifier_two_sample_test(torch.randn(60, 2), torch.randn(60, 2), seed=seed) for seed in range(200)]
    accuracy = torch.tensor([one.accuracy for one in found])
    assert abs(float(accuracy.mean()) - 0.5) < 4 * 0.5 / math.sqrt(200 * 60)
    rejected = sum(one.p_value <= 0.1 for one in found)
    assert rejected <= 37  # at most Binomial(200, 0.1): above 37 with probability 1e-4
    assert rejected >= 2  # P(accuracy >= 36/60) = 0.078: 15 expected, below 2 with probability 1e-5


@pytest.mark.parametrize(("classifier", "least"), [("logistic", 0.0), ("neighbours", 0.03)])
def test_a_shift_is_told_as_well_as_it_can_be(classifier: Any, least: float) -> None:
    """Unit normals two apart: the best classifier is right with probability Phi(1) = 0.841; 4 standard errors of 4,000.

    Nearest neighbours may lose three percent more.
    """
    x, y = torch.randn(4000, 1), torch.randn(4000, 1) + 2
    found = classifier_two_sample_test(x, y, classifier=classifier)
    error = 4 * math.sqrt(0.841 * 0.159 / 4000)
    assert 0.8413 - error - least < found.accuracy < 0.8413 + error
    assert found.standard_error == pytest.approx(math.sqrt(found.accuracy * (1 - found.accuracy) / 4000))
    assert found.p_value < 1e-10


def test_the_p_value_is_the_binomial_tail_of_what_was_found() -> None:
    found = classifier_two_sample_test(torch.randn(20, 1), torch.randn(20, 1) + 1)
    right = round(found.accuracy * found.num_held_out)
    tail = sum(math.comb(found.num_held_out, i) for i in range(right, found.num_held_out + 1))
    assert found.num_held_out == 20
    assert found.p_value == pytest.approx(tail / 2**found.num_held_out)


def test_a_mode_that_is_left_out_is_told_by_three_quarters() -> None:
    """Data of two far modes, samples of one: all samples are told, two to one, and the data of the other mode."""
    data = torch.cat([torch.randn(1000, 1), 100 + torch.randn(1000, 1)])
    found = classifier_two_sample_test(torch.randn(2000, 1), data)
    assert found.accuracy == pytest.approx(0.75, abs=0.05)


def test_the_halves_are_those_of_the_seed_and_the_global_random_state_stays() -> None:
    x, y = torch.randn(2, 30, 2).unbind(0)
    state = torch.get_rng_state()
    assert classifier_two_sample_test(x, y, seed=1) == classifier_two_sample_test(x, y, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert len({classifier_two_sample_test(x, y, seed=seed).accuracy for seed in range(5)}) > 1


def test_classes_are_as_many_of_each_where_sides_are_not() -> None:
    found = classifier_two_sample_test(torch.randn(10, 1), torch.randn(1000, 1))
    assert found.num_held_out == 10


def test_bad_samples_are_refused_in_a_sentence() -> None:
    x = torch.randn(5, 2)
    for left, right, options, sentence in (
        (x, torch.randn(5, 3), {}, r"got \(5, 2\) and \(5, 3\)"),
        (x[:3], x, {}, "at least 4 points"),
        (x * math.inf, x, {}, "not finite"),
        (x, x, {"classifier": "logisitc"}, "name of a classifier, got 'logisitc'.*logistic"),
    ):
        with pytest.raises(UsageError, match=sentence):
            classifier_two_sample_test(left, right, **options)  # type: ignore[arg-type]


def test_an_implicit_pair_is_measured() -> None:
    data = plane(200)
    alike, wide = (evaluate(Push(data.spec, scale), data, num_samples=200).to_json() for scale in (1.0, 20.0))
    assert alike["classifier_accuracy"] < 0.65  # 0.5 with a standard error of 0.035
    assert wide["classifier_accuracy"] > 0.9
