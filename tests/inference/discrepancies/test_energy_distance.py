"""energy_distance: by hand, against SciPy and the distribution functions, and unbiased at a stated rate."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import energy_distance, norm
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.draws import prior_samples
from ppgen.errors import UsageError
from ppgen.inference import EnergyDistance
from ppgen.models import GAN, VAE

LOC, SCALE = 0.6, 1.3


def two_samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    return real, torch.randn(5, 3, generator=generator, dtype=torch.float64) + 1


def exact() -> float:
    """Between N(0, 1) and N(LOC, SCALE^2): twice the integral of the squared difference of their functions."""
    grid = torch.linspace(-12, 14, 26_001, dtype=torch.float64)
    apart = torch.as_tensor(norm.cdf(grid) - norm.cdf(grid, LOC, SCALE))
    return 2 * float(torch.trapezoid(apart.square(), grid))


@pytest.mark.parametrize("exponent", [1.0, 1.5])
def test_the_value_is_that_taken_by_hand(exponent: float) -> None:
    real, fake = two_samples()

    def mean(a: Tensor, b: Tensor, same: bool) -> float:
        apart = sum(float((u - v).norm() ** exponent) for u in a for v in b)  # that of a datum from itself is 0
        return apart / (len(a) * (len(b) - int(same)))

    by_hand = 2 * mean(real, fake, False) - mean(real, real, True) - mean(fake, fake, True)
    assert EnergyDistance(exponent=exponent).discrepancy(real, fake).item() == pytest.approx(by_hand, rel=1e-12)


def test_with_the_terms_of_each_datum_with_itself_it_is_scipys() -> None:
    """SciPy gives the root, in one dimension, of the statistic whose means hold i = j."""
    real, fake = (part[:, :1] for part in two_samples())
    found = EnergyDistance().discrepancy(real, fake).item()
    of_itself = torch.pdist(real).mean() / len(real) + torch.pdist(fake).mean() / len(fake)
    scipys = energy_distance(real[:, 0], fake[:, 0]) ** 2
    assert found + of_itself.item() == pytest.approx(scipys, rel=1e-10)


def test_the_estimate_is_unbiased() -> None:
    """4,000 pairs of samples, of 6 and 4: the mean is within four standard errors of the integral (false alarms: 1 in
    15,000). The statistic that holds i = j is biased by E|x - y| / 6 + E|x' - y'| / 4, 40 of these errors."""
    generator = torch.Generator().manual_seed(1)
    real = torch.randn(4000, 6, 1, generator=generator, dtype=torch.float64)
    fake = LOC + SCALE * torch.randn(4000, 4, 1, generator=generator, dtype=torch.float64)
    found = torch.stack([EnergyDistance().discrepancy(x, y) for x, y in zip(real, fake, strict=True)])
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean()) - exact()) < 4 * error
    bias = 2 / math.sqrt(math.pi) * (1 / 6 + SCALE / 4)
    assert bias > 40 * error


def test_the_gradient_in_the_draws_equals_finite_differences() -> None:
    real, fake = two_samples()
    assert torch.autograd.gradcheck(lambda y: EnergyDistance().discrepancy(real, y), (fake.requires_grad_(),))


@pytest.mark.usefixtures("graphs_as_they_are")
def test_training_brings_draws_to_the_data() -> None:
    x = torch.randn(2000, 1) * 0.5 + 1
    torch.manual_seed(0)
    pair = GAN(DataSpec("line", 1, "real"), 1, hidden=(8,))
    ppgen.fit(pair, x, EnergyDistance(), steps=120, batch_size=100, lr=3e-2)
    draws = prior_samples(pair, (x,), 2000).x
    assert draws.mean().item() == pytest.approx(1, abs=0.15)
    assert draws.std().item() == pytest.approx(0.5, abs=0.15)


def test_a_batch_of_one_is_refused() -> None:
    pair = GAN(DataSpec("line", 1, "real"), 1, hidden=(3,))
    with pytest.raises(UsageError, match="at least 2, got 1: raise batch_size"):
        ppgen.fit(pair, torch.randn(10, 1), EnergyDistance(), steps=1, batch_size=1, eager=True)


def test_draws_without_a_gradient_are_refused() -> None:
    pair = VAE(DataSpec("bits", 4, "binary"), 2, hidden=(3,))
    with pytest.raises(UsageError, match="site 'x' of the model is not reparameterized, and EnergyDistance"):
        EnergyDistance().differentiable_loss(pair.model, pair.guide, torch.eye(4))


@pytest.mark.parametrize("exponent", [0.5, 2.0])
def test_an_exponent_of_which_it_is_no_distance_is_refused(exponent: float) -> None:
    with pytest.raises(UsageError, match="exponent of EnergyDistance must be a number of at least 1 and below 2"):
        EnergyDistance(exponent=exponent)
