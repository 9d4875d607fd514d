"""The networks that pairs are built of: dense and convolutional, from features to numbers and back.

Every network maps the last dim and takes any number of dims before it: (B, D) from the data, (K, B, latent)
from K particles. Weights start Glorot-uniform, biases at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.data.spec import DataSpec
from ppgen.errors import UsageError, nearest

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "ConditionalNormal",
    "ConvDecoder",
    "ConvEncoder",
    "decoder",
    "encoder",
]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}

NETWORKS = ("mlp", "conv")


class MLP(nn.Module):
    """Dense layers: (..., num_inputs) to (..., num_outputs).

    Args:
        num_inputs: size of the last dim of the input.
        num_outputs: size of the last dim of the output, which has no activation.
        hidden: sizes of the hidden layers; ``()`` is a linear map.
        activation: a name in ``ACTIVATIONS``.
        bias: initial bias of the last layer, (num_outputs,); zero if None.

    Raises:
        UsageError: a size is not a positive integer, or the activation is unknown.

    >>> MLP(3, 2, hidden=(4,))(torch.zeros(7, 5, 3)).shape
    torch.Size([7, 5, 2])
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        hidden: Sequence[int] = (200, 200),
        activation: str = "tanh",
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        sizes = [num_inputs, *_sizes("hidden", hidden), num_outputs]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [_glorot(nn.Linear(inputs, outputs)), _activation(activation)]
        self.layers = nn.Sequential(*layers[:-1])
        _start(layers[-2].bias, bias)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class ConvEncoder(nn.Module):
    """Pictures to numbers, stride-2 convolutions and dense layers: (..., num_features) to (..., num_outputs).

    Args:
        image_shape: (H, W) or (C, H, W) of the flattened picture.
        num_outputs: size of the last dim of the output.
        channels: channels of the convolutions; each halves height and width (rounding up).
        hidden: sizes of the dense layers between the convolutions and the output.
        activation: a name in ``ACTIVATIONS``.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        channels: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (200,),
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self.image_shape = _with_channels(image_shape)
        sizes = [self.image_shape[0], *_sizes("channels", channels)]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            convolution = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1)
            layers += [_glorot(convolution), _activation(activation)]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        height, width = _halvings(self.image_shape, len(channels))[-1]
        self.dense = MLP(sizes[-1] * height * width, num_outputs, hidden, activation)

    def forward(self, x: Tensor) -> Tensor:
        pictures = x.reshape(-1, *self.image_shape)  # (K * B, C, H, W)
        return self.dense(self.convolutions(pictures)).reshape(*x.shape[:-1], -1)  # type: ignore[no-any-return]


class ConvDecoder(nn.Module):
    """Numbers to pictures, the mirror of :class:`ConvEncoder`: (..., num_inputs) to (..., C * H * W), flat.

    Args:
        num_inputs: size of the last dim of the input.
        image_shape: (H, W) or (C, H, W) of the picture.
        channels: channels of the encoder's convolutions; they are walked backwards.
        hidden: sizes of the dense layers between the input and the convolutions.
        activation: a name in ``ACTIVATIONS``.
        bias: initial bias of each number of the output, (C * H * W,); zero if None.
    """

    def __init__(
        self,
        num_inputs: int,
        image_shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (200,),
        activation: str = "tanh",
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        shape = _with_channels(image_shape)
        sizes = [shape[0], *_sizes("channels", channels)][::-1]
        extents = _halvings(shape, len(channels))[::-1]
        self.seed_shape = (sizes[0], *extents[0])
        dense = MLP(num_inputs, sizes[0] * extents[0][0] * extents[0][1], hidden, activation)
        self.dense = nn.Sequential(dense, _activation(activation))
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(sizes)):
            convolution = _doubling(inputs, outputs, extents[i], extents[i + 1])
            layers += [_glorot(convolution), _activation(activation)]
        self.convolutions = nn.Sequential(*layers[:-1], nn.Flatten())
        self.bias = nn.Parameter(torch.zeros(shape[0] * shape[1] * shape[2]))
        _start(self.bias, bias)

    def forward(self, inputs: Tensor) -> Tensor:
        seeds = self.dense(inputs).reshape(-1, *self.seed_shape)  # (K * B, C', H', W')
        pictures = self.convolutions(seeds) + self.bias  # (K * B, C * H * W)
        return pictures.reshape(*inputs.shape[:-1], -1)  # type: ignore[no-any-return]


class ConditionalNormal(nn.Module):
    """A Gaussian whose loc and log-scale a network gives: inputs to N(loc, diag(exp(log_scale))^2).

    Args:
        network: maps (..., num_inputs) to (..., 2 * dim); the first half is loc, the second the log-scale.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Any:
        loc, log_scale = self.network(inputs).chunk(2, dim=-1)  # (..., dim) each
        return dist.Normal(loc, log_scale.exp()).to_event(1)


def encoder(
    spec: DataSpec,
    num_outputs: int,
    *,
    network: str = "mlp",
    hidden: Sequence[int] = (200, 200),
    channels: Sequence[int] = (32, 64),
    activation: str = "tanh",
) -> nn.Module:
    """A network from x, (..., spec.num_features), to (..., num_outputs).

    Raises:
        UsageError: the network's name is unknown, or it is ``"conv"`` and the data are no pictures.
    """
    if _network(network, spec) == "mlp":
        return MLP(spec.num_features, num_outputs, hidden, activation)
    return ConvEncoder(spec.image_shape or (), num_outputs, channels, hidden, activation)


def decoder(
    spec: DataSpec,
    num_inputs: int,
    num_outputs: int,
    *,
    network: str = "mlp",
    hidden: Sequence[int] = (200, 200),
    channels: Sequence[int] = (32, 64),
    activation: str = "tanh",
    bias: Tensor | None = None,
) -> nn.Module:
    """A network from (..., num_inputs) to (..., num_outputs) whose last bias starts at ``bias``.

    Raises:
        UsageError: the network's name is unknown, or it is ``"conv"`` and the data are no pictures.
    """
    if _network(network, spec) == "mlp":
        return MLP(num_inputs, num_outputs, hidden, activation, bias)
    return ConvDecoder(num_inputs, spec.image_shape or (), channels, hidden, activation, bias)


def _network(name: str, spec: DataSpec) -> str:
    if name not in NETWORKS:
        raise UsageError(f"expected the name of a network, got {name!r}{nearest(str(name), NETWORKS)}")
    if name == "conv" and spec.image_shape is None:
        raise UsageError(
            f"network='conv' needs pictures, but data {spec.name!r} has no image_shape: use network='mlp'."
        )
    return name


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise UsageError(f"expected the name of an activation, got {name!r}{nearest(str(name), ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def _sizes(name: str, sizes: object) -> list[int]:
    if not isinstance(sizes, list | tuple) or not all(_is_size(size) for size in sizes):
        raise UsageError(f"{name} must be a list of positive integers, such as [200, 200], got {sizes!r}.")
    return list(sizes)


def _is_size(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size >= 1


def _glorot(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _start(bias: Any, value: Tensor | None) -> None:
    if value is not None:
        with torch.no_grad():
            bias.copy_(value)


def _with_channels(image_shape: Sequence[int]) -> tuple[int, int, int]:
    channels, height, width = (1, *image_shape) if len(image_shape) == 2 else image_shape
    return channels, height, width


def _halvings(shape: tuple[int, int, int], times: int) -> list[tuple[int, int]]:
    """(H, W) before and after each of ``times`` stride-2 convolutions."""
    extents = [shape[1:]]
    for _ in range(times):
        height, width = extents[-1]
        extents.append(((height + 1) // 2, (width + 1) // 2))
    return extents


def _doubling(
    inputs: int, outputs: int, small: tuple[int, int], large: tuple[int, int]
) -> nn.ConvTranspose2d:
    """The transposed convolution that undoes one halving: from extent ``small`` to ``large``."""
    padding = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=padding)
