"""The generative moment matching network: the paper's network and kernels, and what trains it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import ppgen
from ppgen.data import DataSpec
from ppgen.draws.samples import prior_samples
from ppgen.errors import UsageError
from ppgen.inference import MMD
from ppgen.models import GMMN
from ppgen.registry import MODELS
from ppgen.testing.sandbox import program_of

PICTURES = DataSpec("pictures", 784, "quantised", levels=256, mean=torch.full((784,), 0.25))


def test_the_network_is_the_papers() -> None:
    pair = GMMN(PICTURES)
    layers = [layer for layer in pair.generator.modules() if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in layers] == [10, 64, 256, 256, 1024]
    assert layers[-1].out_features == 784
    assert sum(isinstance(layer, nn.ReLU) for layer in pair.generator.modules()) == 4
    z = pair.prior(torch.zeros(10)).sample((1000,))
    assert -1 <= z.min() < -0.99 < 0.99 < z.max() <= 1  # of 10,000 draws
    x = prior_samples(pair, (torch.zeros(50, 784),), 50).x
    assert 0 <= x.min() < 0.25 < x.max() <= 1


def test_what_is_recommended_for_pictures_are_the_kernels_of_the_paper() -> None:
    """exp(-d^2 / 2 w), w = 2, 5, 10, 20, 40, 80, each by itself, of two points d apart."""
    found = MODELS["gmmn"].recommended_for("quantised")
    assert found is not None
    objective, pair = ppgen.make_objective(found.objective, **found.options), GMMN(DataSpec("row", 4, "real"))
    assert isinstance(objective, MMD)
    one, two = torch.zeros(1, 4, dtype=torch.float64), torch.full((1, 4), 1.5, dtype=torch.float64)  # d = 3
    kernel = sum(math.exp(-9 / (2 * w)) for w in (2, 5, 10, 20, 40, 80))
    scale = objective.initial_state(program_of(pair), (torch.rand(3, 4, dtype=torch.float64),))["median"]
    assert scale.item() == 1
    value = objective.discrepancy(one, two, scale)
    assert value.item() == pytest.approx(math.sqrt(2 * 6 - 2 * kernel), rel=1e-5)  # bandwidths have six decimals


def test_counts_have_no_generator() -> None:
    with pytest.raises(UsageError, match="GMMN makes real numbers, and data 'words' are counts"):
        GMMN(DataSpec("words", 4, "counts"))


@pytest.mark.usefixtures("graphs_as_they_are")
def test_training_by_what_is_recommended_brings_draws_to_the_data() -> None:
    """A line in the plane with noise: means within 0.15, deviations within 0.2, the correlation beyond -0.9."""
    along = torch.randn(400, 1)
    x = torch.cat([along, -along], 1) + torch.tensor([1.0, 2.0]) + 0.1 * torch.randn(400, 2)
    torch.manual_seed(0)
    pair = GMMN(DataSpec("line", 2, "real", num_data=400), 2, hidden=(16,))
    ppgen.fit(pair, x, "mmd", steps=300, batch_size=100, lr=1e-2, seed=0)
    draws = prior_samples(pair, (x,), 2000).x
    torch.testing.assert_close(draws.mean(0), x.mean(0), rtol=0, atol=0.15)
    torch.testing.assert_close(draws.std(0), x.std(0), rtol=0, atol=0.2)
    assert torch.corrcoef(draws.T)[0, 1] < -0.9
