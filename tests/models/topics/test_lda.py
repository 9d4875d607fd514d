"""Latent Dirichlet allocation against sums over the words' topics, quadrature, scikit-learn, and known topics."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import roots_sh_jacobi
from sklearn.decomposition import LatentDirichletAllocation
from torch import Tensor

import ppgen
from ppgen.data import DataSpec, bar_topics
from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.draws import prior_samples
from ppgen.errors import UsageError
from ppgen.inference import ELBO, AnalyticKL
from ppgen.models import LDA
from ppgen.pairs.tracing import Particles, Program, run_particles

SPEC = DataSpec("words", 3, "counts")
X = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]], dtype=torch.float64)
"""Six words in two documents."""


def small_pair(**options: Any) -> LDA:
    """Two topics over three words, in float64, every parameter off its initial value."""
    pair = LDA(SPEC, 2, **options).double()
    with torch.no_grad():
        pair.log_concentration.copy_(torch.tensor([0.7, 1.4]).log())
        pair.guide_log_concentration.copy_(torch.tensor([0.9, 1.1]).log())
        pair.guide_log_mass.fill_(-0.4)
    return pair


def run(pair: LDA, num_particles: int, given: dict[str, Tensor] | None = None, x: Tensor = X) -> Particles:
    return run_particles(Program(pair.model, pair.guide), (x,), num_particles, given)


@torch.no_grad()
def log_evidence(pair: LDA, x: Tensor) -> float:
    """log p(x) of one document in nats: every assignment of its words to topics, theta integrated by hand."""
    alpha, beta = pair.log_concentration.exp(), pair.topics
    words = x.long().tolist()
    words = [word for word, count in enumerate(words) for _ in range(count)]
    total = 0.0
    for assigned in itertools.product(range(len(beta)), repeat=len(words)):
        counts = torch.tensor([assigned.count(topic) for topic in range(len(beta))]).double()
        prior = (alpha.sum().lgamma() - (alpha.sum() + len(words)).lgamma()).exp()
        prior = prior * ((alpha + counts).lgamma() - alpha.lgamma()).sum().exp()
        total += float(prior) * math.prod(float(beta[z, w]) for z, w in zip(assigned, words, strict=True))
    return math.log(total) + float(BagOfWords.log_orders(x))


def quadrature(first: float, second: float) -> tuple[Tensor, Tensor]:
    """Points (P, B, 2) and weights (P,) of Beta(first, second), exact for polynomials below degree 80."""
    points, weights = roots_sh_jacobi(40, first + second - 1, first)
    theta = torch.stack([torch.as_tensor(points), 1 - torch.as_tensor(points)], -1)
    return theta[:, None].expand(-1, len(X), -1), torch.as_tensor(weights / weights.sum())


@pytest.mark.parametrize("guide", ["document", "amortised"])
def test_the_likelihood_of_six_words_is_the_sum_over_their_topics(guide: str) -> None:
    """p(x | theta) is a polynomial of theta: Gauss-Jacobi quadrature under the prior is exact."""
    pair = small_pair(guide=guide)
    theta, weights = quadrature(*pair.log_concentration.exp().tolist())
    scored = run(pair, len(theta), {"log_theta": theta.log()}).log_prob("x")  # (P, B)
    found = (scored.exp() * weights[:, None]).sum(0).log()
    assert found.tolist() == pytest.approx([log_evidence(pair, x) for x in X], abs=1e-12)


def test_weights_average_to_the_likelihood() -> None:
    """Within 4.5 standard errors of 100,000 particles (false alarms: 1 in 150,000 a document)."""
    pair = small_pair()
    ratio = (run(pair, 100_000).log_w - torch.tensor([log_evidence(pair, x) for x in X])).exp()
    assert ((ratio.mean(0) - 1).abs() < 4.5 * ratio.std(0) / len(ratio) ** 0.5).all()


@torch.no_grad()
def collapsed_bound(pair: LDA) -> Tensor:
    """E_q log w, (B,): log p(x | theta) by quadrature under q (no polynomial, and smooth), less KL(q || p)."""
    q, p = (getattr(run(pair, 1), sites)["log_theta"]["fn"] for sites in ("guide_sites", "model_sites"))
    bounds = -torch.distributions.kl_divergence(q, p).squeeze(0)
    for datum, (first, second) in enumerate(q.concentration.squeeze(0).tolist()):
        theta, weights = quadrature(first, second)
        bounds[datum] += (run(pair, len(theta), {"log_theta": theta.log()}).log_prob("x")[:, datum] * weights).sum()
    return bounds


def test_the_elbo_of_six_words_is_its_integral_and_below_their_likelihood() -> None:
    """Within 4.5 standard errors of 100,000 particles (false alarms: 1 in 150,000 a document)."""
    pair = small_pair()
    exact = collapsed_bound(pair)
    log_w = run(pair, 100_000).log_w
    assert ((log_w.mean(0) - exact).abs() < 4.5 * log_w.std(0) / len(log_w) ** 0.5).all()
    assert (exact < torch.tensor([log_evidence(pair, x) for x in X])).all()


@torch.no_grad()
def mean_field_bound(pair: LDA, counts: Tensor) -> Tensor:
    """The bound that keeps the words' topics, q(theta) prod q(z_i), (B,), in nats: Blei et al., eq. 15."""
    alpha, beta = pair.log_concentration.exp(), pair.topics
    gamma = alpha + counts  # (B, T)
    log_theta = gamma.digamma() - gamma.sum(-1, keepdim=True).digamma()
    phi = (log_theta[:, :, None] + beta.log()).softmax(1)  # (B, T, V)
    words = (X[:, None] * phi * (log_theta[:, :, None] + beta.log() - phi.log())).sum((1, 2))
    kl = torch.distributions.kl_divergence(torch.distributions.Dirichlet(gamma), torch.distributions.Dirichlet(alpha))
    return words - kl + BagOfWords.log_orders(X)


def test_summing_the_words_topics_out_raises_the_bound_of_the_same_guide() -> None:
    pair = small_pair(iterations=500)
    with torch.no_grad():
        pair.guide_log_concentration.copy_(pair.log_concentration)
        pair.guide_log_mass.zero_()
        counts = pair.counts(X, pair.topics, pair.log_concentration.exp())
    below, above = mean_field_bound(pair, counts), collapsed_bound(pair)
    assert (below + 1e-3 < above).all()
    assert (above < torch.tensor([log_evidence(pair, x) for x in X])).all()


def test_coordinate_ascent_ends_where_scikit_learns_does() -> None:
    """Its topics are Dirichlets; with very many counts these are points, to eight digits."""
    spec = DataSpec("words", 8, "counts")
    pair = LDA(spec, 3, concentration=0.3, iterations=500).double()
    x = 1 + torch.poisson(torch.ones(20, 8, dtype=torch.float64))
    with torch.no_grad():
        counts = pair.counts(x, pair.topics, pair.log_concentration.exp())
    peer = LatentDirichletAllocation(3, doc_topic_prior=0.3, max_doc_update_iter=5000, mean_change_tol=1e-12)
    peer.partial_fit(x.numpy())
    peer.components_ = pair.topics.detach().numpy() * 1e10
    peer.exp_dirichlet_component_ = pair.topics.detach().numpy()
    expected = torch.as_tensor(peer.transform(x.numpy()))
    gamma = 0.3 + counts
    torch.testing.assert_close(gamma / gamma.sum(-1, keepdim=True), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(counts.sum(-1), x.sum(-1))


@pytest.mark.parametrize("guide", ["document", "amortised"])
def test_the_guide_expects_as_many_words_as_a_document_has(guide: str) -> None:
    pair = small_pair(guide=guide)
    concentration = run(pair, 1).guide_sites["log_theta"]["fn"].concentration
    expected = pair.guide_log_concentration.exp().sum() + pair.guide_log_mass.exp() * X.sum(-1)
    torch.testing.assert_close(concentration.sum(-1).squeeze(0), expected)


def test_an_empty_document_has_the_guides_concentration_alone() -> None:
    pair = small_pair()
    concentration = run(pair, 1, x=torch.zeros(1, 3, dtype=torch.float64)).guide_sites["log_theta"]["fn"].concentration
    torch.testing.assert_close(concentration.reshape(-1), pair.guide_log_concentration.exp())


@pytest.mark.parametrize("topics", ["parameter", "dirichlet"])
def test_topics_are_distributions_over_words_that_start_near_the_mean_of_the_data(topics: Any) -> None:
    """Their geometric mean: the log-normal factors of 2,000 topics average to 1 within 0.05, 4.5 standard errors."""
    mean = torch.tensor([6.0, 3.0, 1.0])
    pair = LDA(DataSpec("words", 3, "counts", mean=mean, num_data=100_000), 2000, topics=topics)
    assert pair.topics.shape == (2000, 3)
    torch.testing.assert_close(pair.topics.sum(-1), torch.ones(2000))
    torch.testing.assert_close(pair.topics.log().mean(0).softmax(-1), mean / 10, rtol=0.05, atol=0)


def test_latent_topics_are_drawn_around_their_mean() -> None:
    """Within 5 standard errors of 20,000 draws in each of 6 numbers (false alarms: 1 in 290,000)."""
    pair = small_pair(topics="dirichlet")
    draws = run(pair, 20_000).guide_sites["log_topics"]["value"].exp()
    assert draws.shape == (20_000, 1, 2, 3)
    error = draws.std(0)[0] / 20_000**0.5
    assert ((draws.mean(0)[0] - pair.topics).abs() < 5 * error).all()


def test_latent_topics_weigh_the_corpus_and_not_a_document() -> None:
    pair = small_pair(topics="dirichlet", topic_concentration=0.5)
    particles = run(pair, 7)
    outside = particles.outside
    assert outside is not None
    assert particles.latents == ["log_theta"]
    assert outside.latents == ["log_topics"]
    topics = particles.guide_sites["log_topics"]["value"].exp()
    prior = torch.distributions.Dirichlet(torch.full((2, 3), 0.5, dtype=torch.float64))
    posterior = torch.distributions.Dirichlet(pair.get_parameter("table.log_counts").exp())
    expected = (prior.log_prob(topics) - posterior.log_prob(topics)).sum(-1)
    torch.testing.assert_close(outside.log_w, expected)


def test_minibatches_scaled_by_n_over_b_average_to_the_whole_corpus() -> None:
    """Value and gradient of the bound at the same latents; what belongs to the corpus counts once in each."""
    x = 1 + torch.poisson(torch.ones(6, 3, dtype=torch.float64))
    pair = LDA(DataSpec("words", 3, "counts", num_data=6), 2, topics="dirichlet").double()
    drawn = {name: run(pair, 4, x=x).guide_sites[name]["value"].detach() for name in ("log_topics", "log_theta")}

    def bound(rows: Tensor) -> Tensor:
        given = {**drawn, "log_theta": drawn["log_theta"][:, rows]}
        part = run(pair, 4, given, x[rows])
        assert part.outside is not None
        assert part.scale == 6 / len(rows)
        return part.scale * part.log_w.mean(0).sum() + part.outside.log_w.mean()

    def with_gradients(value: Tensor) -> list[Tensor]:
        return [value.detach(), *torch.autograd.grad(value, list(pair.parameters()))]

    whole = with_gradients(bound(torch.arange(6)))
    parts = [with_gradients(bound(rows)) for rows in torch.arange(6).split(2)]
    for expected, *found in zip(whole, *parts, strict=True):
        torch.testing.assert_close(torch.stack(found).mean(0), expected, rtol=1e-10, atol=1e-10)


def test_words_of_a_document_are_drawn_as_many_as_it_had() -> None:
    x = torch.tensor([[1.0, 0.0, 0.0], [0.0, 40.0, 2.0]])
    assert prior_samples(LDA(SPEC, 2), (x,), 4).x.sum(-1).tolist() == [1, 42, 1, 42]


def distances(pair: LDA) -> Tensor:
    """Total variation of each of the ten bars from the topic matched to it."""
    apart = (pair.topics.detach()[:, None] - bar_topics()).abs().sum(-1) / 2  # (T, 10)
    return apart[linear_sum_assignment(apart.numpy())]


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(5))
def test_all_ten_bars_are_found(seed: int) -> None:
    """Each within 0.05 in total variation, from a thousand documents of a hundred words."""
    data = ppgen.load_data("bars", seed=seed)
    torch.manual_seed(seed)
    pair = LDA(data.spec, 10, topics="dirichlet", topic_concentration=0.01, concentration=1.0)
    ppgen.fit(pair, data, AnalyticKL(), epochs=150, batch_size=100, lr=0.05, seed=seed)
    assert float(distances(pair).max()) < 0.05


@pytest.mark.parametrize("options", [{}, {"guide": "amortised"}, {"topics": "dirichlet"}], ids=str)
def test_documents_sharpen_topics(options: dict[str, Any]) -> None:
    """Ten passes bring every variant closer to the bars than it began."""
    data = ppgen.load_data("bars", concentration=0.2)
    pair = LDA(data.spec, 10, **options)
    before = float(distances(pair).mean())
    ppgen.fit(pair, data, ELBO(), epochs=10, batch_size=50, lr=0.03, eager=True)
    assert float(distances(pair).mean()) < before - 0.1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_topics": 0}, "num_topics must be a whole number of at least 1, got 0."),
        ({"concentration": 0.0}, "concentration must be a number above 0, got 0.0."),
        ({"topic_concentration": -1}, "topic_concentration must be a number above 0, got -1."),
        ({"iterations": 0}, "iterations must be a whole number of at least 1, got 0."),
        ({"topics": "parameters"}, "topics must be 'parameter' or 'dirichlet', got 'parameters'."),
        ({"guide": "amortized"}, "guide must be 'document' or 'amortised', got 'amortized'."),
        (
            {"guide": "amortised", "hidden": 3},
            "hidden must be a list of whole numbers of at least 1, got 3: write [3].",
        ),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        LDA(SPEC, **options)
    assert str(error.value).startswith(sentence)


def test_data_that_are_no_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="LDA needs counts of words, but data 'pixels' are binary"):
        LDA(DataSpec("pixels", 5, "binary"))
