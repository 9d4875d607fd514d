"""The image generator and critic: shapes, the rules of the paper, initial weights, labels, and what is refused."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import nn

from ppgen.errors import UsageError
from ppgen.layers.normalisation import PictureNorm
from ppgen.layers.pictures import ImageCritic, ImageGenerator, image_critic, image_generator

CASES = [((28, 28), (4, 2)), ((3, 28, 28), (4, 2)), ((32, 32), (8, 4, 2)), ((3, 32, 32), (2,)), ((1, 8, 24), (4, 2, 2))]


@pytest.mark.parametrize(("shape", "channels"), CASES, ids=str)
def test_pictures_of_any_size_that_is_halved_exactly(shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
    z, x = torch.randn(3, 2, 5), torch.randn(3, prod(shape))
    assert image_generator(shape, channels, "batch", torch.randn(4, 5))(z).shape == (3, 2, prod(shape))
    assert image_critic(shape, channels[::-1], "batch", (x,))(x).shape == (3,)


def test_the_generator_is_transposed_convolutions_normalised_but_for_the_last() -> None:
    layers = [type(layer) for layer in ImageGenerator(5, (3, 8, 8), (4, 2)).convolutions]
    inner = [PictureNorm, nn.ReLU, nn.ConvTranspose2d]
    assert layers == [*inner, *inner, nn.Flatten]


def test_the_critic_is_strided_convolutions_normalised_but_for_the_first() -> None:
    layers = [type(layer) for layer in ImageCritic((3, 8, 8), (2, 4)).convolutions]
    assert layers == [nn.Conv2d, nn.LeakyReLU, nn.Conv2d, PictureNorm, nn.LeakyReLU, nn.Flatten]
    slopes = [
        layer.negative_slope for layer in ImageCritic((8, 8), (2, 4)).modules() if isinstance(layer, nn.LeakyReLU)
    ]
    assert slopes == [0.2, 0.2]


def test_weights_start_normal_and_biases_at_zero() -> None:
    """Standard deviations of 12,800 weights and more, within five standard errors, 0.64 percent each."""
    for network in (ImageGenerator(100, (8, 8), (32, 25)), ImageCritic((8, 8), (25, 32))):
        layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
        large = [layer.weight for layer in layers if layer.weight.numel() >= 12_800]
        assert large
        assert all(weight.std().item() == pytest.approx(0.02, rel=0.032) for weight in large)
        assert all(bool((layer.bias == 0).all()) for layer in layers if layer.bias is not None)


def test_a_pixel_is_seen_where_it_stands() -> None:
    """Four by four with stride two: the pixel at the corner reaches the last feature alone, and colours are apart."""
    critic = ImageCritic((2, 4, 4), (1,), "none").double()
    first = critic.convolutions[0]
    assert isinstance(first, nn.Conv2d)
    nn.init.zeros_(first.weight)
    nn.init.ones_(first.weight[:, :1])
    x = torch.zeros(2, 32, dtype=torch.float64)
    x[0, 15] = x[1, 31] = 1.0
    features = critic.convolutions(x.reshape(2, 2, 4, 4))
    assert features.tolist() == [[0.0, 0.0, 0.0, 1.0], [0.0] * 4]


def test_labels_are_planes_beside_the_colours() -> None:
    x, y = torch.randn(5, 16), torch.arange(5)
    critic = image_critic((4, 4), (3,), "none", (x, y, "name", torch.randn(5, 2)))
    more = torch.randn(5, 2)
    before = critic(x, y, "name", more)
    assert [layer.in_channels for layer in critic.modules() if isinstance(layer, nn.Conv2d)] == [4]
    for changed in ((x, y + 1, "name", more), (x, y, "name", 2 * more)):
        assert (critic(*changed) != before).all()


@pytest.mark.parametrize(("shape", "channels"), [((28, 28), (4, 4, 4)), ((3, 5, 4), (4,)), ((8, 8), ())])
def test_sides_that_are_not_halved_exactly_are_refused(shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
    for make in (lambda: ImageGenerator(3, shape, channels), lambda: ImageCritic(shape, channels)):
        with pytest.raises(UsageError, match=r"height and width in multiples of .*give channels for as many"):
            make()
