"""Counts of words against torch's multinomial, sums over all counts, and a chi-square."""

from __future__ import annotations

import itertools
import math

import pyro.distributions as dist
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from ppgen.distributions.bag_of_words import BagOfWords

PROBS = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


def every_count(length: int, num_words: int = 3) -> Tensor:
    """All vectors of counts of ``length`` words."""
    found = [c for c in itertools.product(range(length + 1), repeat=num_words) if sum(c) == length]
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("length", [0, 1, 4])
def test_the_probabilities_of_all_counts_of_one_length_sum_to_one(length: int) -> None:
    x = every_count(length)
    total = BagOfWords(PROBS.log(), torch.tensor(float(length))).log_prob(x).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-13)


def test_documents_of_several_lengths_are_scored_as_multinomials_of_each() -> None:
    x = torch.tensor([[1.0, 0, 2], [4, 1, 0], [0, 0, 1]], dtype=torch.float64)
    found = BagOfWords(PROBS.log(), x.sum(-1)).log_prob(x)
    expected = [float(dist.Multinomial(int(row.sum()), PROBS).log_prob(row)) for row in x]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_without_its_coefficient_a_bag_is_one_sequence_of_its_words() -> None:
    x = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
    assert float(BagOfWords.log_orders(x)) == pytest.approx(math.log(12), abs=1e-13)  # 4! / 2!
    sequence = BagOfWords(PROBS.log(), x.sum()).log_prob(x) - BagOfWords.log_orders(x)
    assert float(sequence) == pytest.approx(math.log(0.5 * 0.5 * 0.2 * 0.3), abs=1e-13)


@pytest.mark.parametrize("num_words", [1, 2, 3, 5])
def test_draws_have_the_length_of_their_document_and_multinomial_frequencies(num_words: int) -> None:
    """Chi-square over all counts of three words, at a false-alarm rate of 1e-5 a case."""
    probs = (torch.arange(num_words, dtype=torch.float64) + 1) / sum(range(num_words + 1))
    bag = BagOfWords(probs.log(), torch.tensor(3.0))
    draws, states = bag.sample((20_000,)), every_count(3, num_words)
    assert (draws.sum(-1) == 3).all()
    seen = (draws[:, None] == states).all(-1).sum(0)
    assert int(seen.sum()) == 20_000
    if num_words > 1:
        expected = 20_000 * bag.log_prob(states).exp()
        assert chisquare(seen.numpy(), expected.numpy()).pvalue > 1e-5


def test_draws_and_means_follow_lengths_that_broadcast() -> None:
    bag = BagOfWords(PROBS.log().expand(4, 1, 3), torch.tensor([2.0, 7.0], dtype=torch.float64))
    assert bag.batch_shape == (4, 2)
    assert torch.equal(bag.sample().sum(-1), torch.tensor([2.0, 7.0], dtype=torch.float64).expand(4, 2))
    torch.testing.assert_close(bag.mean, bag.length[:, None] * PROBS.expand(4, 2, 3))
    assert bag.expand((5, 4, 2)).sample().shape == (5, 4, 2, 3)


@pytest.mark.parametrize("x", [[1.0, -1.0, 2.0], [0.5, 0.5, 1.0]])
def test_what_is_no_count_is_refused(x: list[float]) -> None:
    with pytest.raises(ValueError, match="support"):
        BagOfWords(PROBS.log(), torch.tensor(2.0), validate_args=True).log_prob(torch.tensor(x))
