"""Convolutional networks: from flat pictures to numbers and back, for any height and width.

Each convolution halves height and width, rounding up; the decoder undoes the halvings exactly. Dims before
the last are flattened for the convolutions and restored after them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Len
from torch import Tensor, nn

from ppgen.arguments import Share, Sizes, checked
from ppgen.layers.dense import MLP, Activation, glorot, make_activation, start_bias
from ppgen.layers.normalisation import normalising

__all__ = ["ConvDecoder", "ConvEncoder", "RandomShift"]


class ConvEncoder(nn.Module):
    """Pictures to numbers, convolutions and dense layers: (..., C * H * W) to (..., num_outputs).

    Args:
        image_shape: (C, H, W) of the flattened picture.
        num_outputs: size of the last dim of the output.
        channels: channels of the convolutions, of stride 2; each halves height and width (rounding up).
        hidden: sizes of the dense layers between the convolutions and the output.
        activation: a name in ``ACTIVATIONS``, or what makes one.
        kernel: height and width of a convolution, odd.
        normalisation: of each hidden layer but the first before its activation, ``"batch"`` or ``"none"``.
        dropout: the share of what the convolutions give, and of each dense layer, that is put to zero in training.
    """

    @checked
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_outputs: int,
        channels: Annotated[Sizes, Len(1)] = (32, 64),
        hidden: Sizes = (200,),
        activation: Activation = "tanh",
        *,
        kernel: int = 3,
        normalisation: Literal["none", "batch"] = "none",
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([image_shape[0], *channels]):
            normal = normalising(normalisation, outputs, pictures=True) if layers else []
            convolution = glorot(nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2))
            layers += [convolution, *normal, make_activation(activation)]
        dropped = [nn.Dropout(dropout)] if dropout else []
        self.convolutions = nn.Sequential(*layers, nn.Flatten(), *dropped)
        height, width = _halvings(image_shape, len(channels))[-1]
        options: dict[str, Any] = {"normalisation": normalisation, "dropout": dropout}
        self.dense = MLP(channels[-1] * height * width, num_outputs, hidden, activation, **options)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.dense(self._found(x))  # (K * B, num_outputs)
        return outputs.reshape(*x.shape[:-1], -1)  # (K, B, num_outputs)

    def features(self, x: Tensor) -> Tensor:
        """What the last dense layer is given, (..., C * H * W) to (..., F)."""
        return self.dense.features(self._found(x)).reshape(*x.shape[:-1], -1)

    def _found(self, x: Tensor) -> Tensor:
        """What the convolutions find, (K * B, C_L * H_L * W_L)."""
        found: Tensor = self.convolutions(x.reshape(-1, *self.image_shape))
        return found


class ConvDecoder(nn.Module):
    """Numbers to pictures, the mirror of :class:`ConvEncoder`: (..., num_inputs) to (..., C * H * W).

    Args:
        num_inputs: size of the last dim of the input.
        image_shape: (C, H, W) of the picture.
        channels: channels of the transposed convolutions, each of which doubles height and width.
        hidden: sizes of the dense layers between the input and the convolutions.
        activation: a name in ``ACTIVATIONS``, or what makes one.
        bias: initial bias of each number of the output, (C * H * W,); zero if None.
        normalisation: of each hidden layer before its activation, ``"batch"`` or ``"none"``.
    """

    @checked
    def __init__(
        self,
        num_inputs: int,
        image_shape: tuple[int, int, int],
        channels: Annotated[Sizes, Len(1)] = (64, 32),
        hidden: Sizes = (200,),
        activation: Activation = "tanh",
        bias: Tensor | None = None,
        *,
        normalisation: Literal["none", "batch"] = "none",
    ) -> None:
        super().__init__()
        sizes = [*channels, image_shape[0]]
        extents = _halvings(image_shape, len(channels))[::-1]
        self.seed_shape = (sizes[0], *extents[0])
        size = sizes[0] * extents[0][0] * extents[0][1]
        dense = MLP(num_inputs, size, hidden, activation, normalisation=normalisation)
        self.dense = nn.Sequential(dense, *normalising(normalisation, size), make_activation(activation))
        layers: list[nn.Module] = []
        for (inputs, outputs), (small, large) in zip(pairwise(sizes), pairwise(extents), strict=True):
            if layers:
                layers += [*normalising(normalisation, inputs, pictures=True), make_activation(activation)]
            layers.append(glorot(_doubling(inputs, outputs, small, large)))
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.bias = nn.Parameter(torch.zeros(image_shape[0] * extents[-1][0] * extents[-1][1]))
        start_bias(self.bias, bias)

    def forward(self, inputs: Tensor) -> Tensor:
        seeds = self.dense(inputs).reshape(-1, *self.seed_shape)  # (K * B, C', H', W')
        pictures: Tensor = self.convolutions(seeds) + self.bias  # (K * B, C * H * W)
        return pictures.reshape(*inputs.shape[:-1], -1)  # (K, B, C * H * W)


class RandomShift(nn.Module):
    """In training each picture is moved by up to ``most`` pixels, down and across, at random; what comes in is 0.

    As dropout, it is noise to what a network sees: (..., C * H * W) to the same, the same in evaluation.
    """

    @checked
    def __init__(self, image_shape: tuple[int, int, int], most: Annotated[int, Ge(0)]) -> None:
        super().__init__()
        self.image_shape, self.most = image_shape, most

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.most):
            return x
        channels, height, width = self.image_shape
        padded = nn.functional.pad(x.reshape(-1, *self.image_shape), (self.most,) * 4)  # (N, C, H + 2 most, W + 2 most)
        first = torch.randint(2 * self.most + 1, (2, len(padded), 1), device=x.device)
        rows = first[0] + torch.arange(height, device=x.device)  # (N, H)
        columns = first[1] + torch.arange(width, device=x.device)  # (N, W)
        picture = torch.arange(len(padded), device=x.device)[:, None, None, None]
        channel = torch.arange(channels, device=x.device)[:, None, None]
        moved: Tensor = padded[picture, channel, rows[:, None, :, None], columns[:, None, None, :]]
        return moved.reshape(x.shape)


def _halvings(shape: tuple[int, int, int], times: int) -> list[tuple[int, int]]:
    """(H, W) before and after each of ``times`` stride-2 convolutions."""
    extents = [shape[1:]]
    for _ in range(times):
        height, width = extents[-1]
        extents.append(((height + 1) // 2, (width + 1) // 2))
    return extents


def _doubling(inputs: int, outputs: int, small: tuple[int, int], large: tuple[int, int]) -> Any:
    """The transposed convolution that undoes one halving: from extent ``small`` to ``large``."""
    padding = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=padding)
