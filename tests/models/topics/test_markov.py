"""A Markov chain of words against counts by hand, sums over sequences and words really left out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

import ppgen
from ppgen.data import DataSpec, dataset_from
from ppgen.distributions.markov_chain import MarkovChain
from ppgen.errors import UsageError
from ppgen.inference import ELBO
from ppgen.models import LDA, Markov
from ppgen.pairs.maximising import Maximising

TEXTS = [[0, 1, 0, 2], [1, 0, 2, 2, 0], [2, 0], [1], [0, 2, 0, 2, 0, 1]]
X = torch.tensor([text + [-1] * (6 - len(text)) for text in TEXTS], dtype=torch.float64)
V = 4  # the last word never comes


def small_pair(**options: Any) -> Markov:
    torch.manual_seed(0)
    return Markov(DataSpec("words", V, "symbols", num_data=len(TEXTS)), **options).double()


@torch.no_grad()
def fitted(**options: Any) -> Markov:
    pair = small_pair(**options)
    for name, value in pair.maximised(pair.expected_statistics(X)).items():
        pair.get_parameter(name).copy_(value)
    return pair


def counts_by_hand(texts: list[list[int]]) -> tuple[list[list[int]], list[int]]:
    """How often each word follows each, the start last, and how often each comes."""
    followed, words = [[0] * V for _ in range(V + 1)], [0] * V
    for text in texts:
        for before, word in itertools.pairwise([V, *text]):
            followed[before][word] += 1
            words[word] += 1
    return followed, words


@pytest.mark.parametrize("base", ["unigram", "uniform"])
def test_probabilities_are_counts_with_the_base_added(base: Any) -> None:
    followed, words = counts_by_hand(TEXTS)
    q = [(n + 0.5) / (sum(words) + 0.5 * V) if base == "unigram" else 1 / V for n in words]
    expected = [[(n + 3 * p) / (sum(row) + 3) for n, p in zip(row, q, strict=True)] for row in followed]
    pair = fitted(concentration=3.0, base=base, smoothing=0.5)
    found = torch.cat([pair.transition, pair.initial[None]]).detach()
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert isinstance(pair, Maximising)


def test_without_a_prior_they_are_relative_frequencies() -> None:
    pair = fitted(concentration=0.0)
    torch.testing.assert_close(pair.initial.detach(), torch.tensor([0.4, 0.4, 0.2, 0.0]).double())
    torch.testing.assert_close(pair.transition[0].detach(), torch.tensor([0, 2 / 6, 4 / 6, 0], dtype=torch.float64))
    torch.testing.assert_close(pair.transition[3].detach(), torch.full((V,), 1 / V, dtype=torch.float64))


def test_they_are_where_the_gradient_of_the_bound_vanishes() -> None:
    """And not where training starts: a unigram."""
    sizes = []
    for pair in (fitted(concentration=0.0), small_pair()):
        ELBO().differentiable_loss(pair.model, pair.guide, X).backward()
        assert pair.logits.grad is not None
        sizes.append(float(pair.logits.grad.abs().max()))
    assert sizes[0] < 1e-12
    assert sizes[1] > 0.5


@torch.no_grad()
def test_probabilities_of_all_texts_of_a_length_sum_to_one() -> None:
    texts = torch.tensor(list(itertools.product(range(V), repeat=3))).double()
    total = fitted().log_evidence(torch.cat([texts, torch.full((len(texts), 2), -1.0)], 1)).exp().sum()
    assert float(total) == pytest.approx(1, rel=1e-12)


@torch.no_grad()
def test_log_p_is_the_sum_over_words_and_the_bound() -> None:
    pair = fitted()
    table = torch.cat([pair.transition, pair.initial[None]]).log().tolist()
    expected = [sum(table[v][w] for v, w in itertools.pairwise([V, *text])) for text in TEXTS]
    torch.testing.assert_close(pair.log_evidence(X), torch.tensor(expected, dtype=torch.float64))
    assert ELBO().loss(pair.model, pair.guide, X) == pytest.approx(-sum(expected))


def told_when_left_out(c: float) -> float:
    """The log-probability of each word by the counts of all the others."""
    total = 0.0
    followed, words = counts_by_hand(TEXTS)
    for text in TEXTS:
        for before, word in itertools.pairwise([V, *text]):
            followed[before][word] -= 1
            words[word] -= 1
            q = (words[word] + 0.01) / (sum(words) + 0.01 * V)
            total += math.log((followed[before][word] + c * q) / (sum(followed[before]) + c))
            followed[before][word] += 1
            words[word] += 1
    return total


def test_the_concentration_is_what_tells_words_that_are_left_out_best() -> None:
    pair = small_pair()
    c = pair.deleted_interpolation(pair.expected_statistics(X)["followed"])
    grid = [c * 1.02**i for i in range(-200, 200)]
    best = max(grid, key=told_when_left_out)
    assert best == pytest.approx(c, rel=0.021)
    torch.testing.assert_close(fitted().logits, fitted(concentration=c).logits)


@torch.no_grad()
def test_draws_follow_the_chain_and_end_where_they_are_to() -> None:
    cycle = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]).log()
    places = torch.tensor([[True] * 5, [True, True, False, False, False]])
    assert MarkovChain(cycle, places).sample().tolist() == [[1, 2, 0, 1, 2], [1, 2, -1, -1, -1]]


@torch.no_grad()
def test_draws_have_the_probabilities_of_pairs() -> None:
    """Of 40,000 draws; 5 standard errors for each of 12 pairs: a false alarm once in a hundred thousand seeds."""
    pair, num = fitted(concentration=2.0), 40_000
    torch.manual_seed(1)
    drawn = MarkovChain(pair.logits.log_softmax(-1), torch.ones(num, 2, dtype=torch.bool)).sample().long()
    expected = pair.initial[:, None] * pair.transition
    found = torch.bincount(drawn[:, 0] * V + drawn[:, 1], minlength=V * V).reshape(V, V) / num
    assert bool(((found - expected).abs() <= 5 * (expected * (1 - expected) / num).sqrt()).all())


def test_evaluation_has_the_perplexity_by_hand_and_that_of_a_uniform_chain_is_the_vocabulary() -> None:
    """Fitted in batches of two, which ``em`` adds up."""
    data = dataset_from(X.float(), test=X.float(), valid=0.0, observation="symbols", vocabulary=["a", "b", "c", "d"])
    pair = Markov(data.spec, concentration=1.0)
    uniform = ppgen.fit(Markov(data.spec, concentration=1e8, base="uniform"), data, "em", epochs=1, batch_size=5)
    run = ppgen.fit(pair, data, "em", epochs=1, batch_size=2, eager=True, progress=False)
    values = []
    for found in (run, uniform):
        (measure,) = (m for m in found.evaluate(particles=1).measures if "perplexity" in m.name)
        assert measure.name == "bound_perplexity"
        assert "of all 18 words, from log p(x), exact" in measure.meaning
        values.append(measure.value)
    log_p = fitted(concentration=1.0).log_evidence(X).sum().detach()
    assert values[0] == pytest.approx(math.exp(-float(log_p) / 18), rel=1e-5)
    assert values[1] == pytest.approx(V, rel=1e-5)


def test_what_comes_in_no_order_is_refused() -> None:
    counts = DataSpec("bag", 5, "counts")
    with pytest.raises(UsageError, match="Markov needs sequences of words, but data 'bag' are counts: load data set"):
        Markov(counts)
    ordered = dataset_from(X.float(), observation="symbols", valid=0.0, test=0.0)
    with pytest.raises(UsageError, match="LDA needs counts of words, but data 'user' are sequences of them: load"):
        LDA(ordered.spec, 2)
    counted = dataset_from(torch.ones(5, 3), observation="counts", valid=0.0, test=0.0)
    with pytest.raises(UsageError, match="Markov was made for data that are symbols, and data 'user' are counts"):
        ppgen.fit(Markov(ordered.spec), counted, "em", epochs=1)
    with pytest.raises(UsageError, match="the 20000 words of data 'many' have more than 268435456 pairs: take fewer"):
        Markov(DataSpec("many", 20_000, "symbols"))
