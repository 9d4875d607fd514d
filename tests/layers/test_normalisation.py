"""Normalisation by a batch and by a reference batch: by hand, and of which data an output is a function."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.layers.networks import MLP
from ppgen.layers.normalisation import BatchNorm, PictureNorm, Referenced, ReferenceNorm, normalising
from ppgen.layers.pictures import image_critic, image_generator

KINDS: list[Literal["reference", "virtual"]] = ["reference", "virtual"]
SHAPES = [(3,), (3, 2, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_reference_normalises_by_its_own_mean_and_variance(shape: tuple[int, ...]) -> None:
    """All data, and the reference itself, by the mean and variance of each channel of the reference."""
    layer = ReferenceNorm(3, 4, eps=1e-3).double()
    rows = torch.randn(9, *shape, dtype=torch.float64)
    channels = rows[:4].movedim(1, 0).reshape(3, -1)  # (C, n P)
    mean, variance = (part.reshape(3, *[1] * (len(shape) - 1)) for part in (channels.mean(1), channels.var(1, False)))
    torch.testing.assert_close(layer(rows), (rows - mean) / (variance + 1e-3).sqrt(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_virtual_batch_is_the_reference_and_the_datum_itself(shape: tuple[int, ...]) -> None:
    """Each datum as batch normalisation gives it beside the reference alone."""
    layer = ReferenceNorm(3, 4, virtual=True).double()
    rows = torch.randn(9, *shape, dtype=torch.float64)
    batch = (nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d)(3).double()
    found = layer(rows)
    for datum in range(4, 9):
        alone = batch(torch.cat([rows[:4], rows[datum : datum + 1]]))
        torch.testing.assert_close(found[datum], alone[-1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[:4], batch(rows[:4]), rtol=1e-12, atol=1e-12)


def test_scale_and_shift_are_learned_for_each_channel() -> None:
    layer = ReferenceNorm(2, 3)
    rows = torch.randn(5, 2, 4)
    plain = layer(rows)
    with torch.no_grad():
        layer.scale.copy_(torch.tensor([2.0, 1.0]))
        layer.shift.copy_(torch.tensor([0.0, 3.0]))
    torch.testing.assert_close(
        layer(rows), plain * torch.tensor([2.0, 1.0])[:, None] + torch.tensor([0.0, 3.0])[:, None]
    )


def dense(kind: Any, reference: Tensor) -> nn.Module:
    return Referenced(MLP(16, 3, (5, 4), normalisation=kind, num_reference=len(reference)), reference)


def critic(kind: Any, reference: Tensor) -> nn.Module:
    return image_critic((1, 4, 4), (3, 2), kind, (reference,))


def generator(kind: Any, reference: Tensor) -> nn.Module:
    return image_generator((2, 8, 8), (3, 2), kind, reference)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [dense, critic, generator])
@pytest.mark.parametrize("training", [True, False])
def test_the_output_of_a_datum_is_independent_of_the_rest_of_its_batch(make: Any, kind: Any, training: bool) -> None:
    """In training too, and the same as in evaluation; another reference gives another output."""
    reference, x = torch.randn(6, 16), torch.randn(5, 16)
    network = make(kind, reference).double().train(training)
    _spread(network)
    with torch.no_grad():
        whole = network(x.double())
        for rows in ([0], [2, 0], [0, 0, 4, 1]):
            torch.testing.assert_close(network(x[rows].double()), whole[rows], rtol=1e-10, atol=1e-12)
        next(network.buffers()).add_(torch.randn(6, 16))
        assert not torch.allclose(network(x.double()), whole)


@pytest.mark.parametrize("make", [critic, generator])
def test_by_a_batch_the_output_of_a_datum_depends_on_the_rest_in_training_alone(make: Any) -> None:
    network, x = make("batch", torch.randn(6, 16)), torch.randn(5, 16)
    _spread(network)
    with torch.no_grad():
        assert not torch.allclose(network(x)[:2], network(x[:2]))
        network.eval()
        torch.testing.assert_close(network(x)[:2], network(x[:2]))


def test_a_virtual_datum_far_away_is_held_and_a_reference_one_is_not() -> None:
    far = torch.cat([torch.randn(9, 1), torch.tensor([[1e4]])])
    held, free = (ReferenceNorm(1, 9, virtual=virtual)(far)[-1].item() for virtual in (True, False))
    assert held == pytest.approx(3.0, abs=1e-2)  # sqrt(n): one datum of n + 1, however far
    assert free > 1000


@pytest.mark.parametrize(
    ("layer", "row"), [(BatchNorm(3), torch.zeros(1, 3)), (PictureNorm(3), torch.zeros(1, 3, 2, 2))]
)
def test_a_batch_of_one_is_refused_in_training_alone(layer: nn.Module, row: Tensor) -> None:
    with pytest.raises(UsageError, match="takes batches of at least 2 data in training, got 1: raise batch_size"):
        layer(row)
    assert layer.eval()(row).shape == row.shape


def test_none_is_no_layer() -> None:
    assert normalising("none", 3) == []


def test_what_is_no_tensor_is_handed_on() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, word: str, more: Tensor) -> Tensor:
            return x * len(word) + more

    x = torch.ones(2, 1)
    found = Referenced(Scaled(), torch.zeros(3, 1), "name", torch.ones(3, 1))(x, "name", x)
    assert torch.equal(found, torch.full((2, 1), 5.0))


def _spread(network: nn.Module) -> None:
    """Weights of about one, so that what is normalised is not lost beside eps."""
    torch.manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight)
