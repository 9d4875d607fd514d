"""mmd: its value against Pyro's own kernel loss and by hand, its gradient, its bandwidth, what it refuses."""

import math
from functools import reduce
from typing import Any

import pytest
import torch
from pyro.contrib.gp.kernels import RBF, Sum
from pyro.infer.trace_mmd import _compute_mmd
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.draws import prior_samples
from ppgen.errors import UsageError
from ppgen.inference import MMD
from ppgen.models import GAN, VAE
from ppgen.testing.sandbox import program_of

ONE = torch.ones((), dtype=torch.float64)


def two_samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    return real, torch.randn(5, 3, generator=generator, dtype=torch.float64) + 1


def by_hand(x: Tensor, y: Tensor, bandwidths: tuple[float, ...]) -> float:
    def mean(a: Tensor, b: Tensor) -> float:
        each = [math.exp(-float((u - v).square().sum()) / (2 * w * w)) for u in a for v in b for w in bandwidths]
        return sum(each) / (len(a) * len(b))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def test_the_value_is_pyros_kernel_loss_with_the_same_kernels() -> None:
    real, fake = two_samples()
    parts: list[Any] = [RBF(3, lengthscale=torch.tensor(b)) for b in (0.5, 2.0)]
    expected = _compute_mmd(real, fake, reduce(Sum, parts))
    torch.testing.assert_close(MMD(bandwidths=(0.5, 2.0)).discrepancy(real, fake, ONE), expected.detach())


def test_the_value_is_that_taken_by_hand() -> None:
    real, fake = two_samples()
    found = MMD(bandwidths=(0.5, 2.0)).discrepancy(real, fake, ONE)
    assert found.item() == pytest.approx(by_hand(real, fake, (0.5, 2.0)), rel=1e-6)
    assert MMD(bandwidths=(0.5, 2.0), root=True).discrepancy(real, fake, ONE).item() == pytest.approx(
        math.sqrt(found.item()), rel=1e-9
    )


def test_bandwidths_are_in_units_of_the_median_distance() -> None:
    real, fake = two_samples()
    plain = MMD(bandwidths=(1.5,)).discrepancy(real, fake, ONE)
    torch.testing.assert_close(MMD(bandwidths=(0.5,)).discrepancy(real, fake, 3 * ONE), plain)
    pair = GAN(DataSpec("line", 1, "real"), 1, hidden=(3,))
    state = MMD().initial_state(program_of(pair), (torch.tensor([[0.0], [1.0], [3.0]]),))
    assert state["median"].item() == 2.0


def test_a_fixed_scale_takes_the_place_of_the_median_distance() -> None:
    real, fake = two_samples()
    pair = GAN(DataSpec("line", 1, "real"), 1, hidden=(3,))
    state = MMD(scale=2.5).initial_state(program_of(pair), (torch.ones(4, 1),))  # which have no distances
    assert state["median"].item() == 2.5
    found = MMD(bandwidths=(0.4,), scale=2.5).discrepancy(real, fake, state["median"].double())
    assert found.item() == pytest.approx(by_hand(real, fake, (1.0,)), rel=1e-6)


def test_a_sample_is_at_no_distance_from_itself() -> None:
    real, fake = two_samples()
    assert MMD().discrepancy(real, real, ONE).item() == pytest.approx(0, abs=1e-12)
    assert MMD().discrepancy(real, fake, ONE).item() > 0.01


@pytest.mark.parametrize("root", [False, True])
def test_the_gradient_in_the_draws_equals_finite_differences(root: bool) -> None:
    real, fake = two_samples()
    objective = MMD(root=root)
    assert torch.autograd.gradcheck(lambda y: objective.discrepancy(real, y, ONE), (fake.requires_grad_(),))


@pytest.mark.usefixtures("graphs_as_they_are")
def test_training_brings_draws_to_the_data() -> None:
    x = torch.randn(2000, 1) * 0.5 + 1
    torch.manual_seed(0)
    pair = GAN(DataSpec("line", 1, "real"), 1, hidden=(8,))
    ppgen.fit(pair, x, MMD(), steps=120, batch_size=50, lr=3e-2)
    draws = prior_samples(pair, (x,), 2000).x
    assert draws.mean().item() == pytest.approx(1, abs=0.15)
    assert draws.std().item() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("bandwidths", [(), (0.0,), 1.0, ("wide",)])
def test_impossible_bandwidths_are_refused(bandwidths: Any) -> None:
    with pytest.raises(UsageError, match="bandwidths of MMD must be a list of numbers above 0"):
        MMD(bandwidths=bandwidths)


def test_data_without_distances_are_refused() -> None:
    pair = GAN(DataSpec("line", 1, "real"), 1, hidden=(3,))
    with pytest.raises(UsageError, match="all 4 rows are equal"):
        MMD().initial_state(program_of(pair), (torch.ones(4, 1),))


def test_draws_without_a_gradient_are_refused() -> None:
    pair = VAE(DataSpec("bits", 4, "binary"), 2, hidden=(3,))
    with pytest.raises(UsageError, match="site 'x' of the model is not reparameterized, and MMD"):
        MMD().differentiable_loss(pair.model, pair.guide, torch.eye(4))
