"""BEGAN's generator: the decoder of its critic, for pictures and for other data, and the critic that is recommended."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.layers.pictures import ImageAutoencoder
from ppgen.models import BEGAN, GAN
from ppgen.registry import MODELS

SPEC = DataSpec("pictures", 64, "quantised", image_shape=(8, 8), levels=256, num_data=20)


def test_of_pictures_the_generator_is_the_decoder_of_the_recommended_critic() -> None:
    """Layer by layer of the same kind and shape, apart from the output's function, with weights of its own."""
    found = MODELS["began"].recommended_for("quantised")
    assert found is not None
    options: Any = {**found.options, "hidden": (4, 6), "code_dim": 5}
    pair = BEGAN(SPEC, 5, channels=(4, 4))
    critic = ppgen.make_objective("began", **options).parameters(pair, (torch.rand(3, 64),))
    assert isinstance(critic, ImageAutoencoder)
    generator: Any = pair.generator
    own, its = (
        [(type(m), {n: p.shape for n, p in m.named_parameters(recurse=False)}) for m in network.modules()]
        for network in (generator[0].network, critic.decoder)
    )
    assert own == its
    kinds = {kind for kind, _ in own}
    assert {nn.Upsample, nn.Conv2d, nn.ELU} <= kinds
    assert kinds.isdisjoint({nn.ConvTranspose2d, nn.BatchNorm2d})
    assert all(
        not a.equal(b) for a, b in zip(generator.parameters(), critic.decoder.parameters(), strict=True) if b.any()
    )


def test_of_other_data_it_is_dense() -> None:
    pair = BEGAN(DataSpec("plane", 2, "real"), 3, hidden=(4, 5))
    layers: list[Any] = [m for m in pair.generator.modules() if isinstance(m, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(3, 4), (4, 5), (5, 2)]
    assert sum(isinstance(m, nn.ELU) for m in pair.generator.modules()) == 2


def test_an_autoencoder_sees_every_pixel_and_what_stands_beside_it() -> None:
    torch.manual_seed(0)
    network = ImageAutoencoder((2, 8, 8), (3, 4), 5, num_more=1).double()
    x = torch.randn(1, 128, dtype=torch.float64, requires_grad=True)
    more = torch.ones(1, dtype=torch.float64, requires_grad=True)
    again = network(x, more)
    slope, beside = torch.autograd.grad(again.square().sum(), [x, more])
    assert again.shape == (1, 128)
    assert (slope != 0).all()
    assert (beside != 0).all()


def test_what_is_recommended_trains_and_tells_its_convergence() -> None:
    x = torch.rand(20, 64).mul(255).round() / 255
    data = Dataset(SPEC, (x,), (x,), (x,))
    run = ppgen.fit(BEGAN(SPEC, 4, channels=(3, 3)), data, steps=2, batch_size=10, eager=True)
    line = next(line for line in run.metrics if line["split"] == "train")
    assert {"critic/k", "critic/convergence", "generator/loss"} <= line.keys()


def test_what_has_no_autoencoder_is_refused() -> None:
    with pytest.raises(UsageError, match="autoencoder that BEGAN makes its critic is not normalised"):
        ppgen.make_objective("began(normalisation=batch)")
    with pytest.raises(UsageError, match="multiples of 8, got pictures of 28 x 28"):
        BEGAN(DataSpec("pictures", 784, "quantised", image_shape=(28, 28), levels=256), channels=(2, 2, 2))
    with pytest.raises(UsageError, match="critic='conv' is a critic of pictures, and the data of GAN have no"):
        ppgen.make_objective("began(critic=conv)").parameters(GAN(DataSpec("plane", 2, "real")), (torch.zeros(3, 2),))
