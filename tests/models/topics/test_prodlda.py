"""ProdLDA against quadrature and the algebra of its prior, its experts and its dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import ELBO, AnalyticKL
from ppgen.models import ProdLDA
from ppgen.pairs.tracing import Particles, Program, run_particles
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

SPEC = DataSpec("words", 4, "counts")
X = torch.tensor([[2.0, 1.0, 0.0, 1.0], [0.0, 1.0, 2.0, 0.0], [3.0, 0.0, 0.0, 2.0]], dtype=torch.float64)


def small_pair(num_topics: int = 2, **options: Any) -> ProdLDA:
    """A pair in float64, with running averages and shifts off their initial values."""
    pair = ProdLDA(SPEC, num_topics, hidden=(5, 6), **options).double()
    with torch.no_grad():
        pair.weight.normal_()
        pair.background.normal_()
        for _ in range(3):
            run(pair, 2)
    return pair.eval()


def run(pair: ProdLDA, num_particles: int) -> Particles:
    return run_particles(Program(pair.model, pair.guide), (X,), num_particles)


@pytest.mark.parametrize("concentration", [0.1, 1.0, 3.0])
def test_the_prior_is_laplaces_approximation_of_the_dirichlet(concentration: float) -> None:
    """Its mean is the mode in the basis of the softmax; its variances are those of the inverse Hessian there.

    The density does not change along (1, ..., 1), where the pseudo-inverse has no variance.
    """
    topics = 5

    def log_density(z: Tensor) -> Tensor:
        return concentration * log_softmax(z, -1).sum()

    mode = torch.zeros(topics, dtype=torch.float64)
    assert float(torch.func.grad(log_density)(mode).abs().max()) < 1e-12
    covariance = torch.linalg.pinv(-torch.func.hessian(log_density)(mode))
    prior = run(small_pair(topics, concentration=concentration), 1).model_sites["z"]["fn"]
    torch.testing.assert_close(prior.variance.reshape(-1, topics), covariance.diagonal().expand(3, -1))
    assert float(prior.mean.abs().max()) == 0


def test_words_come_from_the_normalised_product_of_background_and_topics_to_their_weights() -> None:
    pair = small_pair(3)
    theta = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    torch.testing.assert_close(pair.topics.sum(-1), torch.ones(3, dtype=torch.float64))
    product = pair.background.exp() * (pair.topics ** theta[:, None]).prod(0)  # (V,)
    torch.testing.assert_close(pair.log_probs(theta).exp(), product / product.sum())


def test_without_topics_words_have_the_frequencies_of_the_data() -> None:
    mean = torch.tensor([3.0, 2.0, 4.0, 1.0])
    pair = ProdLDA(DataSpec("words", 4, "counts", mean=mean), 2)
    torch.testing.assert_close(pair.log_probs(torch.zeros(2)).exp(), mean / 10)


@torch.no_grad()
def test_weights_average_to_the_likelihood() -> None:
    """With two topics theta is a function of z_1 - z_2, which is normal: Gauss-Hermite quadrature in one dimension.

    Within 4.5 standard errors of 100,000 particles (false alarms: 1 in 150,000 a document).
    """
    pair = small_pair(2)
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    difference = torch.as_tensor(points) * 2**0.5 * pair.prior_scale
    theta = torch.stack([difference, torch.zeros_like(difference)], -1).softmax(-1)  # (P, 2)
    words = pair.log_probs(theta)  # (P, V)
    orders = (X.sum(-1) + 1).lgamma() - (X + 1).lgamma().sum(-1)
    evidence = (X @ words.T + torch.as_tensor(weights / weights.sum()).log()).logsumexp(-1) + orders
    ratio = (run(pair, 100_000).log_w - evidence).exp()
    assert ((ratio.mean(0) - 1).abs() < 4.5 * ratio.std(0) / len(ratio) ** 0.5).all()


def test_draws_of_the_guide_are_scored_again_under_the_mask_they_were_drawn_with() -> None:
    pair = small_pair(dropout=0.5).train()
    particles = run(pair, 4)
    assert set(particles.guide_sites["mask"]["value"].unique().tolist()) == {0, 1}
    assert particles.latents == ["z"]
    torch.testing.assert_close(particles.with_fixed(guide=True).log_q, particles.log_q)


def test_the_mask_has_no_part_in_the_log_weights() -> None:
    particles = run(small_pair(dropout=0.5).train(), 4)
    torch.testing.assert_close(particles.log_q, particles.log_prob("z", particles.guide_sites))


def test_the_divergence_from_the_prior_stays_exact_under_dropout() -> None:
    """Given the mask: it has no variance beyond that of the likelihood."""
    pair = small_pair(dropout=0.5).train()
    particles = run(pair, 4)
    q, p = (sites["z"]["fn"] for sites in (particles.guide_sites, particles.model_sites))
    expected = particles.log_likelihood - torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(AnalyticKL(num_particles=4).estimate(particles), expected.mean(0))


@pytest.mark.parametrize(
    ("dropout", "training", "has_mask"), [(0.5, True, True), (0.5, False, False), (0.0, True, False)]
)
def test_units_are_dropped_in_training_alone(dropout: float, training: bool, has_mask: bool) -> None:
    pair = small_pair(dropout=dropout).train(training)
    assert ("mask" in run(pair, 2).guide_sites) == has_mask


def test_validation_drops_nothing_and_leaves_the_running_averages() -> None:
    data = ppgen.load_data("bars", num_data=200)
    pair = ProdLDA(data.spec, 10, hidden=(20,), dropout=0.9)
    trainer = Trainer(pair, data, AnalyticKL(), TrainingOptions(batch_size=50, eager=True))
    before = pair.get_buffer("loc.1.running_mean").clone()
    at_once, in_parts = trainer.validate(rows=40), trainer.validate(rows=20)
    assert torch.equal(pair.get_buffer("loc.1.running_mean"), before)
    assert at_once["loss"] == pytest.approx(in_parts["loss"], rel=0.02)  # other draws of z; no statistics of a batch
    assert pair.training


def test_training_moves_the_running_averages_and_evaluation_leaves_them() -> None:
    data = ppgen.load_data("bars", num_data=200)
    pair = ProdLDA(data.spec, 10, hidden=(20,))
    ppgen.fit(pair, data, ELBO(), epochs=3, batch_size=50, lr=0.01, eager=True)
    variance = pair.get_buffer("loc.1.running_var")
    moved = variance.clone()
    assert float((moved - 1).abs().max()) > 0.01
    assert pair.training
    ppgen.log_weights(pair, data.test, 2)
    assert torch.equal(variance, moved)
    assert pair.training


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_topics": 0}, "num_topics must be a whole number of at least 1, got 0."),
        ({"hidden": ()}, "hidden must be a list of whole numbers of at least 1 (at least 1 of them), got ()."),
        ({"concentration": 0}, "concentration must be a number above 0, got 0."),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1, got 1.0."),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        ProdLDA(SPEC, **options)
    assert str(error.value).startswith(sentence)


def test_data_that_are_no_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="ProdLDA needs counts of words, but data 'pixels' are binary"):
        ProdLDA(DataSpec("pixels", 5, "binary"))


def test_a_batch_of_one_document_has_no_variance_to_normalise_by() -> None:
    pair = small_pair().train()
    with pytest.raises(UsageError, match="batches of at least 2 data in training, got 1"):
        pair.guide(X[:1])
