"""What a guide says of new data: the draws are the guide's, and those of ArviZ."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ppgen
from ppgen.draws import infer
from ppgen.models import LinearGaussian
from tests.tiny import tiny_pair


@pytest.fixture(scope="module")
def run() -> ppgen.Run:
    torch.manual_seed(0)
    data = ppgen.load_data("linear_gaussian")
    pair = LinearGaussian(data.spec, latent_dim=2)
    pair.set_exact_guide()
    return ppgen.fit(pair, data, "elbo", steps=1, lr=1e-9, eager=True)


def test_means_and_deviations_are_those_of_the_exact_posterior(run: ppgen.Run) -> None:
    """Standard errors over S = 4,000 draws: five of them are passed once in two million numbers."""
    x = run.data.test[0][:6]
    found = run.infer(x, num_samples=4000)
    exact = run.embed("test").values[:6]
    assert found.samples["z"].shape == (4000, 6, 2)
    assert float(((found.mean["z"] - exact) / (found.sd["z"] / 4000**0.5)).abs().max()) < 5
    assert found.log_weights is not None
    assert float(found.log_weights.std(0).max()) < 1e-3  # every draw of the posterior weighs the same, p(x)


def test_the_draws_are_those_that_arviz_is_given(run: ppgen.Run) -> None:
    found = run.infer(run.data.test[0][:5].numpy(), num_samples=7, seed=3)
    idata = found.to_inference_data()
    np.testing.assert_array_equal(idata.posterior["z"].values[0], found.samples["z"].numpy())
    assert repr(found).splitlines() == ["Posterior of 5 data, 7 draws each", "  z  (7, 5, 2)"]


@pytest.mark.parametrize("model", ["gmm", "discrete_vae", "rbm", "lda", "ss_vae"])
def test_pairs_of_other_kinds_have_their_latents(model: str) -> None:
    pair, data = tiny_pair(model)
    batch = data.draw(data.rows("test"))
    found = infer(pair, batch, num_samples=3)
    assert found.samples
    assert all(len(draws) == 3 for draws in found.samples.values())
    assert set(found.mean) <= set(found.samples)


def test_resampled_draws_have_no_weights(run: ppgen.Run) -> None:
    found = run.infer(run.data.test[0][:2], num_samples=5, resampled_from=50)
    assert found.log_weights is None
    assert found.samples["z"].shape == (5, 2, 2)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(2, 3), r"expected data of shapes \(N, \d+\), as those of training, got \(N, 3\)"),
        ((torch.zeros(2, 3), torch.zeros(2)), r"got \(N, 3\), \(N\)"),
        (torch.zeros(0, 3), "row"),
    ],
    ids=["other features", "labels", "no rows"],
)
def test_data_of_another_shape_are_refused(run: ppgen.Run, x: object, said: str) -> None:
    with pytest.raises(ppgen.UsageError, match=said):
        run.infer(x)


def test_a_pair_without_a_posterior_is_refused() -> None:
    pair, data = tiny_pair("gan")
    with pytest.raises(ppgen.UsageError, match="implicit"):
        infer(pair, data.rows("test"))
