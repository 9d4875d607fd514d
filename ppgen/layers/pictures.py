"""The image generator and the critic of adversarial models: strided convolutions and nothing else.

    generator   z -> C_1 x H / 2^L x W / 2^L -> ... -> C x H x W      transposed convolutions, ReLU between them
    critic      C x H x W -> ... -> C_L x H / 2^L x W / 2^L -> 1      convolutions, leaky ReLU (0.2) after each

L transposed convolutions, or convolutions, of stride 2, kernel 4 and padding 1, each of which doubles, or halves,
height and width exactly, whatever their number, so that H and W are multiples of 2^L: L = 2 for 28 x 28, up to 5 for
32 x 32. No pooling, no dense layer but the one from z and the one to the critic's output. Every layer is normalised
(:mod:`ppgen.layers.normalisation`) but the generator's last and the critic's first. Weights start N(0, 0.02^2), biases
at 0.

These are the rules of Radford, Metz and Chintala (2016, section 3 and its box of guidelines), ``"dcgan"``. By those of
Berthelot, Schumm and Metz (2017, section 3.1 and figure 1), ``"began"``, with one convolution at each resolution,

    generator   each doubling is by nearest neighbours, then a convolution of kernel 3
    critic      an autoencoder: convolutions of kernel 3 and stride 2 to a code, and such a generator back to x

with ELUs within, no normalisation, and weights that start Glorot-uniform.

Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks, Radford, Metz and
Chintala, 2016; BEGAN: Boundary Equilibrium Generative Adversarial Networks, Berthelot, Schumm and Metz, 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.layers.normalisation import Normalisation, Referenced, normalising

__all__ = ["ImageAutoencoder", "ImageCritic", "ImageGenerator", "Rules", "image_critic", "image_generator"]

Rules: TypeAlias = Literal["dcgan", "began"]


@dataclass(frozen=True)
class _Rules:
    """What doubles height and width, from so many channels to so many, and what halves them; what stands between."""

    doubling: Callable[[int, int], Sequence[nn.Module]]
    halving: Callable[[int, int], nn.Module]
    up: Callable[[], nn.Module]
    down: Callable[[], nn.Module]
    start: Callable[[Any], object]


_RULES = {
    "dcgan": _Rules(
        doubling=lambda inputs, outputs: [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)],
        halving=partial(nn.Conv2d, kernel_size=4, stride=2, padding=1),
        up=nn.ReLU,
        down=partial(nn.LeakyReLU, 0.2),
        start=lambda layer: nn.init.normal_(layer.weight, std=0.02),
    ),
    "began": _Rules(
        doubling=lambda inputs, outputs: [nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1)],
        halving=partial(nn.Conv2d, kernel_size=3, stride=2, padding=1),
        up=nn.ELU,
        down=nn.ELU,
        start=lambda layer: nn.init.xavier_uniform_(layer.weight),
    ),
}


class ImageGenerator(nn.Module):
    """Numbers to flat pictures, (N, num_inputs) to (N, C * H * W), without a last function.

    Args:
        num_inputs: size of the latent vector.
        image_shape: (C, H, W).
        channels: of the hidden layers, from the latent vector to the picture.
        normalisation: of the hidden layers.
        num_reference: how many rows are the reference batch, where they are normalised by one.
        rules: see the module.

    Raises:
        UsageError: height and width are no multiples of 2^L, L the number of hidden layers.

    >>> ImageGenerator(5, (3, 8, 8), (4, 2))(torch.zeros(7, 5)).shape
    torch.Size([7, 192])
    """

    def __init__(
        self,
        num_inputs: int,
        image_shape: Sequence[int],
        channels: Sequence[int],
        normalisation: Normalisation = "batch",
        num_reference: int = 0,
        rules: Rules = "dcgan",
    ) -> None:
        super().__init__()
        own, shape = _RULES[rules], _picture(image_shape, len(channels))
        self.seed_shape = (channels[0], *(side // 2 ** len(channels) for side in shape[1:]))
        self.dense = nn.Linear(num_inputs, channels[0] * self.seed_shape[1] * self.seed_shape[2])
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([*channels, shape[0]]):
            normal = normalising(normalisation, inputs, num_reference, pictures=True)
            layers += [*normal, own.up(), *own.doubling(inputs, outputs)]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        _start(self, own)

    def forward(self, z: Tensor) -> Tensor:
        pictures: Tensor = self.convolutions(self.dense(z).reshape(-1, *self.seed_shape))
        return pictures


class ImageCritic(nn.Module):
    """Flat pictures to one number each, (N, C * H * W) to (N,), or to ``num_outputs``, (N, num_outputs).

    What else a batch holds is seen beside the colours: pictures of this height and width as they are, and of all else
    (labels) a plane for each number, the same at every pixel.

    Args:
        image_shape: (C, H, W).
        channels: of the convolutions, from the picture.
        normalisation: of all layers but the first.
        num_reference: how many rows are the reference batch, where they are normalised by one.
        num_more: planes beside the picture's own colours.
        num_outputs: of a datum; None: one, as a number.
        rules: see the module.

    Raises:
        UsageError: height and width are no multiples of 2^L, L the number of convolutions.

    >>> ImageCritic((3, 8, 8), (4, 2))(torch.zeros(7, 192)).shape
    torch.Size([7])
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: Sequence[int],
        normalisation: Normalisation = "batch",
        num_reference: int = 0,
        num_more: int = 0,
        num_outputs: int | None = None,
        rules: Rules = "dcgan",
    ) -> None:
        super().__init__()
        own, self.num_outputs = _RULES[rules], num_outputs
        self.image_shape = _picture(image_shape, len(channels))
        colours, height, width = self.image_shape
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([colours + num_more, *channels]):
            normal = normalising(normalisation, outputs, num_reference, pictures=True) if layers else []
            layers += [own.halving(inputs, outputs), *normal, own.down()]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.dense = nn.Linear(channels[-1] * height * width // 4 ** len(channels), num_outputs or 1)
        _start(self, own)

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        outputs: Tensor = self.dense(self.features(x, *more))  # (N, num_outputs)
        return outputs.squeeze(-1) if self.num_outputs is None else outputs

    def features(self, x: Tensor, *more: Any) -> Tensor:
        """What the last convolution gives, (N, C_L * H * W / 4^L)."""
        pictures = x.reshape(-1, *self.image_shape)  # (N, C, H, W)
        sides = self.image_shape[1:]
        for part in filter(torch.is_tensor, more):
            numbers = part.to(x.dtype).reshape(len(x), -1)
            is_picture = _planes(numbers[0], self.image_shape) < numbers.shape[1]
            planes = numbers.reshape(len(x), -1, *sides) if is_picture else numbers[..., None, None]
            pictures = torch.cat([pictures, planes.expand(-1, -1, *sides)], 1)  # (N, C + M, H, W)
        found: Tensor = self.convolutions(pictures)
        return found


class ImageAutoencoder(nn.Module):
    """Flat pictures to a code and back, (N, C * H * W) to the same, by the rules of ``"began"``.

    Args:
        image_shape: (C, H, W).
        channels: of the encoder's convolutions, from the picture; the decoder has the first of them throughout.
        code_dim: size of the code.
        num_more: numbers of a datum beside the picture, which the encoder sees too.

    Raises:
        UsageError: height and width are no multiples of 2^L, L the number of convolutions.

    >>> ImageAutoencoder((3, 8, 8), (4, 6), 5)(torch.zeros(7, 192)).shape
    torch.Size([7, 192])
    """

    def __init__(self, image_shape: Sequence[int], channels: Sequence[int], code_dim: int, num_more: int = 0) -> None:
        super().__init__()
        self.encoder = ImageCritic(
            image_shape, channels, "none", num_more=num_more, num_outputs=code_dim, rules="began"
        )
        width = (channels[0],) * len(channels)
        self.decoder = ImageGenerator(code_dim, image_shape, width, "none", rules="began")

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        again: Tensor = self.decoder(self.encoder(x, *more))
        return again.reshape(x.shape)


class _Flat(nn.Module):
    """A network of rows, (N, size), for any dims before the last."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.network(inputs.reshape(-1, inputs.shape[-1]))
        return outputs.reshape(*inputs.shape[:-1], -1)


def image_generator(
    image_shape: Sequence[int],
    channels: Sequence[int],
    normalisation: Normalisation,
    reference: Tensor,
    rules: Rules = "dcgan",
) -> nn.Module:
    """:class:`ImageGenerator` for (..., num_inputs), with its reference batch, (n, num_inputs), if it needs one."""
    num = len(reference) if normalisation in ("reference", "virtual") else 0
    network = ImageGenerator(reference.shape[1], image_shape, channels, normalisation, num, rules)
    return _Flat(Referenced(network, reference) if num else network)


def image_critic(
    image_shape: Sequence[int], channels: Sequence[int], normalisation: Normalisation, batch: Sequence[Any]
) -> nn.Module:
    """:class:`ImageCritic` for tensors like the batch's, which is its reference batch, if it needs one."""
    num = len(batch[0]) if normalisation in ("reference", "virtual") else 0
    more = sum(_planes(part[0], image_shape) for part in batch[1:] if torch.is_tensor(part))
    network = ImageCritic(image_shape, channels, normalisation, num, more)
    return Referenced(network, *batch) if num else network


def _planes(datum: Tensor, image_shape: Sequence[int]) -> int:
    """As how many planes a critic of pictures sees what stands beside one: colours of a picture, or single numbers."""
    pixels = image_shape[-2] * image_shape[-1]
    numbers = datum.numel()
    return numbers // pixels if numbers % pixels == 0 else numbers


def _picture(image_shape: Sequence[int], halvings: int) -> tuple[int, int, int]:
    """(C, H, W).

    Raises:
        UsageError: height or width is no multiple of 2^halvings.
    """
    (colours,), (height, width) = image_shape[:-2] or (1,), image_shape[-2:]
    if not halvings or height % 2**halvings or width % 2**halvings:
        raise UsageError(
            f"{halvings} convolutions of stride 2 need at least one and height and width in multiples of "
            f"{2**halvings}, got pictures of {height} x {width}: give channels for as many as halve them exactly."
        )
    return colours, height, width


def _start(network: nn.Module, rules: _Rules) -> None:
    """Weights by the rules and biases 0 of what convolves and multiplies."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            rules.start(layer)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
