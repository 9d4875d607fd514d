"""reconstruction: its value and gradient by hand, the principal subspace as its optimum, what it refuses."""

from __future__ import annotations

import pytest
import torch

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import Reconstruction
from ppgen.models import VAE, BiGAN, GMMNCodes
from ppgen.testing.sandbox import program_of


def linear() -> BiGAN:
    torch.manual_seed(0)
    return BiGAN(DataSpec("rows", 4, "real", num_data=12), 2, hidden=(), posterior="point").double()


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_value_and_gradient_are_those_of_the_error(exponent: float) -> None:
    pair, x = linear(), torch.randn(6, 4, dtype=torch.float64)
    outcome = Reconstruction(exponent=exponent).play("all", program_of(pair), (x,), {})
    error = ((x - pair.reconstruct(x)).abs() ** exponent).sum(1).mean()
    torch.testing.assert_close(outcome.metrics["error"], error)
    assert outcome.num_data == 12
    found, expected = (torch.autograd.grad(loss, list(pair.parameters())) for loss in (outcome.loss, 12 * error))
    torch.testing.assert_close(found, expected)
    assert all(bool(part.any()) for part in found)


@pytest.mark.usefixtures("graphs_as_they_are")
def test_a_linear_optimum_spans_the_principal_components() -> None:
    """The least error of two codes is that of the variances that two components leave."""
    x = torch.randn(400, 4) @ torch.diag(torch.tensor([3.0, 2.0, 0.5, 0.2])) @ torch.linalg.qr(torch.randn(4, 4))[0]
    centred = x - x.mean(0)
    left = torch.linalg.svdvals(centred)[2:].square().sum() / len(x)
    pair = linear().float()
    ppgen.fit(pair, x, Reconstruction(), steps=1500, batch_size=400, lr=0.02, seed=0)
    error = (x - pair.reconstruct(x)).square().sum(1).mean()
    assert left * 0.999 < error < left * 1.02


def test_a_pair_that_infers_nothing_is_refused() -> None:
    pair = ppgen.models.GAN(DataSpec("rows", 4, "real"), 2, hidden=(3,))
    with pytest.raises(UsageError, match="Reconstruction trains the guide to infer latents from x, and none"):
        Reconstruction().check(program_of(pair), (torch.zeros(3, 4),))


def test_draws_without_a_gradient_are_refused() -> None:
    pair = VAE(DataSpec("bits", 4, "binary"), 2, hidden=(3,))
    with pytest.raises(UsageError, match="site 'x' of the model is not reparameterized, and Reconstruction"):
        Reconstruction().check(program_of(pair), (torch.eye(4),))


def test_the_network_of_codes_has_no_part_in_it() -> None:
    pair = GMMNCodes(DataSpec("rows", 4, "real"), 2, hidden=(3,), codes=(3, 2))
    outcome = Reconstruction().play("all", program_of(pair), (torch.randn(5, 4),), {})
    outcome.loss.backward()
    assert all(weight.grad is None or not weight.grad.any() for weight in pair.coder.parameters())
    assert all(weight.grad is not None and weight.grad.any() for weight in pair.encoder.parameters())
