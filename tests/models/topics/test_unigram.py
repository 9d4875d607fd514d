"""Unigrams and their mixtures against sums over documents, and the perplexity that follows from frequencies."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation.perplexity import completion, halves
from ppgen.inference import ELBO
from ppgen.models import Unigram
from ppgen.pairs.maximising import Maximising

X = torch.tensor([[2.0, 1, 0, 0, 3], [0, 1, 2, 1, 0], [3, 0, 0, 2, 1], [0, 4, 1, 0, 0]], dtype=torch.float64)


def small_pair(num_components: int = 2, smoothing: float = 0.0) -> Unigram:
    torch.manual_seed(0)
    return Unigram(DataSpec("words", 5, "counts", num_data=4), num_components, smoothing=smoothing).double()


@torch.no_grad()
def em_step(pair: Unigram, *, hard: bool = False) -> float:
    """log p(x) + smoothing log beta, after a step."""
    for name, value in pair.maximised(pair.expected_statistics(X, hard=hard)).items():
        pair.get_parameter(name).copy_(value)
    return float(pair.log_evidence(X).sum() + pair.smoothing * pair.topics.log().sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_em_never_lowers_the_likelihood_nor_smoothed_the_posterior(smoothing: float) -> None:
    pair = small_pair(smoothing=smoothing)
    with torch.no_grad():
        values = [float(pair.log_evidence(X).sum() + smoothing * pair.topics.log().sum())]
    values += [em_step(pair) for _ in range(30)]
    assert isinstance(pair, Maximising)
    assert all(after >= before - 1e-10 for before, after in itertools.pairwise(values) if math.isfinite(before))
    assert values[-1] > values[0] + 1


def test_one_unigram_has_the_frequencies_after_a_step() -> None:
    pair = small_pair(1, smoothing=0.5)
    em_step(pair)
    torch.testing.assert_close(pair.topics[0], (X.sum(0) + 0.5) / (X.sum() + 2.5))


@torch.no_grad()
def test_its_perplexity_is_that_of_the_frequencies() -> None:
    pair = small_pair(1, smoothing=0.5)
    em_step(pair)
    second = halves(X, seed=0)[1]
    expected = (-(second * pair.topics[0].log()).sum() / second.sum()).exp()
    assert completion(pair, (X,), 1).value == pytest.approx(float(expected))


@torch.no_grad()
def test_probabilities_of_all_documents_of_a_length_sum_to_one() -> None:
    pair = small_pair()
    documents = [c for c in itertools.product(range(4), repeat=5) if sum(c) == 3]
    torch.testing.assert_close(
        pair.log_evidence(torch.tensor(documents).double()).exp().sum(), torch.ones((), dtype=torch.float64)
    )


@torch.no_grad()
def test_one_word_more_has_the_ratio_of_two_sequences_probabilities() -> None:
    pair = small_pair()

    def of_sequence(x: Tensor) -> Tensor:
        return (pair.weights.log() + x @ pair.topics.log().T).logsumexp(-1)

    found = pair.next_word_log_probs(X)
    for word, more in enumerate(torch.eye(5, dtype=torch.float64)):
        torch.testing.assert_close(found[:, word], of_sequence(X + more) - of_sequence(X))


def test_the_bound_is_the_evidence() -> None:
    pair = small_pair()
    assert ELBO().loss(pair.model, pair.guide, X) == pytest.approx(-float(pair.log_evidence(X).sum().detach()))


def test_hard_responsibilities_are_those_of_the_likeliest_topic() -> None:
    pair = small_pair()
    found = pair.expected_statistics(X, hard=True)
    best = pair.responsibilities(X).argmax(-1)
    torch.testing.assert_close(found["words"], torch.stack([X[best == c].sum(0) for c in range(2)]))


def test_a_topic_without_documents_is_refused() -> None:
    pair = small_pair()
    statistics = {"weights": torch.tensor([4.0, 0.0]), "words": torch.ones(2, 5)}
    with pytest.raises(UsageError, match="component 1 of 2 of Unigram is left without documents: lower num_components"):
        pair.maximised(statistics)


def test_data_that_are_no_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="Unigram needs counts of words, but data 'pixels' are binary"):
        Unigram(DataSpec("pixels", 5, "binary"))


def test_evaluation_says_that_its_perplexity_is_exact() -> None:
    """And of its one topic a coherence without an error, which is over topics."""
    data = ppgen.load_data("bars", num_data=60)
    pair = Unigram(data.spec)
    run = ppgen.fit(pair, data, "em", steps=1, batch_size=60, progress=False)
    found = {measure.name: measure for measure in run.evaluate(particles=2).measures}
    assert "given the other half, exact" in found["perplexity"].meaning
    assert found["perplexity"].value == pytest.approx(completion(pair, data.test, 1).value)
    assert found["npmi"].standard_error is None
