"""Perplexity: cuts, the predictive against quadrature, the bound against the exact evidence, standard errors."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import roots_jacobi
from scipy.stats import chisquare, multivariate_hypergeom
from torch import Tensor

from ppgen import UsageError
from ppgen.data import Dataset, DataSpec, dataset_from
from ppgen.evaluation import Evaluation, evaluate
from ppgen.evaluation.perplexity import (
    completion,
    halves,
    log_coefficients,
    perplexity,
    predictive,
    score_completion,
)
from ppgen.models import VAE
from ppgen.pairs import log_weights as weights
from ppgen.pairs.pair import Pair

TOPICS = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
PRIOR = torch.tensor([1.5, 0.8], dtype=torch.float64)
UNIGRAM = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


class Sequence(dist.Multinomial):
    """Counts of words in their order: no multinomial coefficient."""

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.xlogy(value, self.probs).sum(-1)


class TinyLDA(Pair):
    """theta ~ Dirichlet(PRIOR), words ~ theta TOPICS; a guide that knows nothing, whose weights have a variance."""

    def __init__(self, likelihood: type[dist.Multinomial] = dist.Multinomial) -> None:
        super().__init__()
        self.likelihood = likelihood

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            theta = pyro.sample("theta", dist.Dirichlet(PRIOR))  # (K, B, 2)
            pyro.sample("x", self.likelihood(100, probs=theta @ TOPICS), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("theta", dist.Dirichlet(torch.ones_like(PRIOR)))


class Unigram(Pair):
    """Words of one distribution, and a latent that says nothing."""

    def __init__(self, probs: Tensor) -> None:
        super().__init__()
        self.probs = probs

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Multinomial(100, probs=self.probs), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))


def _documents(*rows: list[int], copies: int = 1) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).repeat(copies, 1)


def _expected(function: Tensor, nodes: Tensor, weights: Tensor) -> Tensor:
    """E of a function of theta at the nodes, (n, ...), under the prior."""
    return torch.einsum("n,n...->...", weights / weights.sum(), function)


def _quadrature() -> tuple[Tensor, Tensor]:
    """Word distributions at nodes of theta, (n, V), and the prior's weights: exact for polynomials of degree 39."""
    nodes, weights = (torch.as_tensor(part) for part in roots_jacobi(20, float(PRIOR[1]) - 1, float(PRIOR[0]) - 1))
    share = (1 + nodes) / 2
    return torch.stack([share, 1 - share], 1) @ TOPICS, weights / weights.sum()


def _exact_evidence(x: Tensor) -> Tensor:
    """p of the words of each document in their order, (D,)."""
    words, weights = _quadrature()
    return torch.stack([weights @ (words**counts).prod(1) for counts in x])


def _exact_predictive(x: Tensor) -> Tensor:
    """p(w | x) for one document, (V,)."""
    words, weights = _quadrature()
    posterior = weights * (words**x).prod(1)
    return posterior @ words / posterior.sum()


def _counts(train: Tensor) -> Dataset:
    return dataset_from(train, observation="counts", test=train, name="tiny")


def test_halves_are_all_words_and_as_even_as_can_be() -> None:
    x = torch.poisson(torch.full((200, 7), 0.9)).clamp_min(torch.eye(7)[:1])
    first, second = halves(x)
    n = x.sum(1)
    assert torch.equal(first + second, x)
    assert torch.equal(first.sum(1), (n / 2).ceil())
    assert bool((first >= 0).all())
    assert bool((second >= 0).all())


def test_halves_are_multivariate_hypergeometric() -> None:
    """Chi-square over the six halves that [2, 1, 1] can have; false-alarm rate 1e-4."""
    counts, num = [2, 1, 1], 4000
    first, _ = halves(_documents(counts, copies=num), seed=3)
    states, times = first.unique(dim=0, return_counts=True)
    found = dict(zip(map(tuple, states.tolist()), times.tolist(), strict=True))
    possible = [(2, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1)]
    assert set(found) == set(possible)
    expected = [num * multivariate_hypergeom.pmf(half, counts, 2) for half in possible]
    assert chisquare([found[half] for half in possible], expected).pvalue > 1e-4


def test_halves_depend_on_the_seed_alone() -> None:
    x = _documents([5, 5, 5], copies=10)
    first, _ = halves(x, seed=1)
    torch.rand(1)
    assert torch.equal(first, halves(x, seed=1)[0])
    assert not torch.equal(first, halves(x, seed=2)[0])


def test_the_predictive_goes_to_that_of_quadrature_as_particles_grow() -> None:
    """200 documents of the same two words: errors fall as 1 / sqrt(K), so to a tenth, give or take 0.6."""
    x1 = _documents([1, 1, 0], copies=200)
    exact = _exact_predictive(x1[0])
    errors = {}
    for K in (10, 1000):
        torch.manual_seed(K)
        probs = torch.cat(list(predictive(TinyLDA(), (x1,), K)))  # (200, V)
        torch.testing.assert_close(probs.sum(1), torch.ones(200, dtype=torch.float64))
        errors[K] = float((probs - exact).square().mean().sqrt())
    assert 6 < errors[10] / errors[1000] < 16
    assert (probs.mean(0) - exact).abs().max() < 5 * probs.std(0).max() / math.sqrt(200)
    assert errors[1000] < 0.01


def test_particles_in_blocks_weigh_as_if_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 particles in 63 blocks, z-test, false-alarm rate 1e-5; equal weights of blocks are ten deviations off."""
    monkeypatch.setattr(weights, "_CELLS", 3 * 16 * 16)
    x1 = _documents([1, 1, 0], copies=50)
    probs = torch.cat(list(predictive(TinyLDA(), (x1,), 1000)))
    assert (probs.mean(0) - _exact_predictive(x1[0])).abs().max() < 4.6 * probs.std(0).max() / math.sqrt(50)


def test_a_probability_that_is_nan_is_refused() -> None:
    broken = Unigram(torch.tensor([math.nan, 0.5, 0.5], dtype=torch.float64))
    with pyro.validation_enabled(False), pytest.raises(UsageError, match="probability of a word is NaN"):
        completion(broken, (_documents([1, 1, 1], copies=2),), 2)


def test_the_completion_of_three_words_is_that_of_quadrature() -> None:
    """[1, 1, 1] has three equally likely halves; z-test on 500 documents, false-alarm rate 6e-5."""
    x = _documents([1, 1, 1], copies=500)
    first, second = halves(x, seed=5)
    scores = [torch.xlogy(b, _exact_predictive(a)).sum() for a, b in zip(first, second, strict=True)]
    exact = perplexity(torch.stack(scores), second.sum(1))
    found = completion(TinyLDA(), (x,), 2000, seed=5)
    assert found.num_words == found.num_documents == 500
    assert found.value == pytest.approx(exact.value, rel=1e-3)
    assert found.standard_error == pytest.approx(exact.standard_error, rel=0.02)


def test_a_unigram_model_has_the_perplexity_of_its_words() -> None:
    x = _documents([3, 1, 0], [1, 2, 2], [0, 4, 1])
    _, second = halves(x)
    cross = -(second @ UNIGRAM.log()).sum() / second.sum()
    found = completion(Unigram(UNIGRAM), (x,), 3)
    assert found.value == pytest.approx(float(cross.exp()), rel=1e-12)
    assert completion(Unigram(torch.ones(3, dtype=torch.float64) / 3), (x,), 3).value == pytest.approx(3, rel=1e-12)


def test_the_chunks_of_a_predictive_do_not_matter() -> None:
    x, probs = _documents([1, 1, 0], [0, 2, 1], [1, 0, 1]), torch.rand(3, 3, dtype=torch.float64).softmax(1)
    whole, parts = (score_completion(pieces, x) for pieces in ([probs], [probs[:1], probs[1:]]))
    assert parts.value == pytest.approx(whole.value, rel=1e-12)
    assert parts.standard_error == pytest.approx(whole.standard_error, rel=1e-12)


@pytest.mark.parametrize("likelihood", [dist.Multinomial, Sequence])
def test_the_bound_is_that_of_words_in_their_order(likelihood: type[dist.Multinomial]) -> None:
    x = _documents([2, 1, 0], [1, 1, 1], [0, 0, 4])
    expected = {
        dist.Multinomial: [math.log(3), math.log(6), 0.0],
        Sequence: [0.0, 0.0, 0.0],
    }[likelihood]
    pair = TinyLDA(likelihood)
    assert log_coefficients(pair, (x,)).tolist() == pytest.approx(expected, abs=1e-12)
    exact = perplexity(_exact_evidence(x).log(), x.sum(1)).value
    found = _measured(evaluate(pair, _counts(x), particles=20_000))
    assert found["bound_perplexity"] == pytest.approx(exact, rel=0.02)


def test_the_bound_of_few_particles_lies_above() -> None:
    x = _documents([2, 1, 0], [1, 1, 1], [0, 0, 4], copies=300)
    exact = perplexity(_exact_evidence(x).log(), x.sum(1)).value
    few, more = (_measured(evaluate(TinyLDA(), _counts(x), particles=K))["bound_perplexity"] for K in (1, 10))
    assert few > more > exact


def test_the_standard_error_is_that_of_a_ratio_by_hand() -> None:
    log_prob, words = torch.tensor([-2.0, -3.0, -8.0], dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0])
    rate = 13 / 6
    residuals = [2 - rate, 3 - 2 * rate, 8 - 3 * rate]
    error = math.sqrt(3 / 2 * sum(r * r for r in residuals)) / 6
    found = perplexity(log_prob, words)
    assert found.value == pytest.approx(math.exp(rate), rel=1e-12)
    assert found.standard_error == pytest.approx(math.exp(rate) * error, rel=1e-12)
    assert (found.num_words, found.num_documents) == (6, 3)


def test_the_standard_error_is_the_spread_over_new_documents() -> None:
    """400 corpora of 200 documents whose lengths and rates go together; its ratio has a standard error of 0.035."""
    generator = torch.Generator().manual_seed(7)
    words = 1 + torch.poisson(torch.full((400, 200), 4.0), generator=generator)
    rates = 5 + 0.4 * torch.randn(400, 200, generator=generator) - 0.1 * words
    found = [perplexity(-n * r, n) for n, r in zip(words, rates, strict=True)]
    spread = torch.tensor([p.value for p in found]).std()
    reported = torch.tensor([p.standard_error for p in found]).mean()
    assert float(spread / reported) == pytest.approx(1, abs=0.14)


def test_every_number_stands_in_the_evaluation_with_its_direction() -> None:
    x = _documents([2, 1, 0], [1, 1, 1], [0, 0, 1])
    found = evaluate(TinyLDA(), _counts(x), particles=5)
    assert {"perplexity", "perplexity_standard_error", "bound_perplexity", "bound_perplexity_standard_error"} <= set(
        found.to_json()
    )
    meanings = {measure.name: measure.meaning for measure in found.measures}
    assert "no bound; 1 document of one word left out" in meanings["perplexity"]
    assert "above the model's perplexity" in meanings["bound_perplexity"]


def test_documents_of_one_word_have_a_bound_and_no_completion() -> None:
    found = _measured(evaluate(TinyLDA(), _counts(torch.eye(3, dtype=torch.float64)), particles=5))
    assert "bound_perplexity" in found
    assert "perplexity" not in found


def test_a_pair_on_other_data_has_no_perplexity() -> None:
    spec = DataSpec("tiny", 6, "binary")
    x = torch.rand(4, 6).round()
    assert not _measured(evaluate(VAE(spec, 2, hidden=(4,)), Dataset(spec, (x,), (x,), (x,)), particles=2))


def test_a_model_that_tells_no_word_distribution_is_refused() -> None:
    pair = VAE(DataSpec("tiny", 3, "real"), 2, hidden=(4,)).double()
    with pytest.raises(UsageError, match=r"no observed site .* probs of shape \(..., 3\)"):
        completion(pair, (_documents([1, 1, 1], copies=2),), 2)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (_documents([1, 1, 1], [0, 0, 0]), "document 1 sums to 0"),
        (_documents([1, 1, 1], [3, -1, 0]), "document 1 sums to 2 with counts from -1"),
        (_documents([1, 1, 1]) / 2, "document 0 sums to 1.5"),
        (_documents([1, 1, 1], [0, 1, 0]), "at least 2 documents of at least two words, got 1 of 2"),
    ],
)
def test_documents_that_cannot_be_completed_are_refused(x: Tensor, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        completion(TinyLDA(), (x,), 2)


def test_a_perplexity_of_one_document_is_refused() -> None:
    with pytest.raises(UsageError, match="expected at least 2"):
        perplexity(torch.tensor([-1.0]), torch.tensor([1.0]))


def _measured(found: Evaluation) -> dict[str, float]:
    return {measure.name: measure.value for measure in found.measures}
