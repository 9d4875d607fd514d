"""ELBO surgery against closed forms: where the guide is the posterior and the data are the model's own, all is told."""

import dataclasses
import math

import pytest
import torch

import ppgen
from ppgen.data import Dataset
from ppgen.diagnostics import Finding
from ppgen.models import LinearGaussian
from tests.diagnostics.linear import data_of, exact

NUM = 2000


def aggregate(pair: ppgen.Pair, data: Dataset) -> Finding:
    return ppgen.diagnose(pair, data, split="train", num_data=NUM, questions=["aggregate"])["aggregate"]


def shifted(pair: LinearGaussian, by: float) -> LinearGaussian:
    """The same pair with all guide means moved."""
    with torch.no_grad():
        pair.guide_loc.add_(by)
    return pair


def test_under_the_posterior_of_the_models_own_data_the_kl_is_mutual_information() -> None:
    """p(x) is the data's: q(z) = p(z), and I(x; z) = -1/2 log det V. The
    tolerance is 4.5 standard errors (false alarms 7e-6), and 0.02 for N = 2,000 in place of all data."""
    pair = exact(torch.tensor([[1.2, 0.3], [-0.4, 1.1], [0.8, 0.9]]))
    found = aggregate(pair, data_of(pair, NUM)).details
    information = -0.5 * float(
        pair.posterior(torch.zeros(1, 3, dtype=torch.float64)).covariance_matrix.detach().logdet()
    )
    assert found.mutual_information == pytest.approx(information, abs=4.5 * found.standard_error + 0.02)
    assert found.kl == pytest.approx(information, abs=0.15)
    assert not found.saturated


def test_a_guide_moved_off_the_prior_is_found_by_surgery_and_by_moments() -> None:
    """All means moved by 2 in both dims: q(z) = N((2, 2), I), 4 nats from the prior, which is the difference to the
    guide that is not moved, up to the noise of 2,000 data."""
    weight = torch.tensor([[1.2, 0.3], [-0.4, 1.1], [0.8, 0.9]])
    data = data_of(exact(weight), NUM)
    still, moved = aggregate(exact(weight), data), aggregate(shifted(exact(weight), 2.0), data)
    assert still.status == "good"
    assert moved.status == "warn"
    assert moved.details.marginal_kl - still.details.marginal_kl == pytest.approx(4, abs=0.3)
    assert moved.details.normal_kl == pytest.approx(4, abs=0.3)
    assert still.details.normal_kl == pytest.approx(0, abs=0.05)


def test_mutual_information_is_at_most_log_n_and_said_to_be_so() -> None:
    """With noise of 1/1000 every draw tells its datum: I_q(n; z) = log N, whatever the latents know beyond it."""
    pair = exact(torch.eye(2), noise=1e-3)
    found = aggregate(pair, data_of(pair, NUM))
    assert found.details.mutual_information == pytest.approx(math.log(NUM), abs=1e-2)
    assert found.details.saturated
    assert found.status == "unknown"


def test_a_guide_that_is_the_prior_tells_nothing_apart() -> None:
    pair = exact(torch.zeros(3, 2))
    found = aggregate(pair, data_of(pair, NUM)).details
    assert found.mutual_information == pytest.approx(0, abs=1e-9)
    assert found.kl == pytest.approx(0, abs=1e-9)


def test_latents_that_go_together_are_named() -> None:
    """Both latents of the guide follow x[0]: their correlation over the data is that of their means and noise."""
    pair = exact(torch.zeros(1, 3))
    with torch.no_grad():
        pair.guide_weight[[0, 2]] = 5.0
    found = aggregate(pair, data_of(pair, NUM)).details
    assert found.most_correlated == [0, 2]
    assert found.largest_correlation == pytest.approx(25 / 26, abs=0.01)


def test_the_question_does_not_arise_for_an_unnormalised_pair() -> None:
    spec = ppgen.DataSpec("bits", 6, "binary")
    x = torch.rand(20, 6).round()
    data = dataclasses.replace(Dataset(spec, (x,), (x,), (x,)))
    assert ppgen.diagnose(ppgen.models.RBM(spec, 3), data, questions=["aggregate"]).findings == ()
