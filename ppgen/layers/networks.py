"""The networks that pairs are built of: dense and convolutional, from features to numbers and back.

Every network maps the last dim and takes any number of dims before it: (B, D) from the data, (K, B, latent)
from K particles. Weights start Glorot-uniform, biases at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pyro.distributions as dist
from annotated_types import Len
from torch import Tensor, nn

from ppgen.arguments import Sizes, check_fields
from ppgen.data.spec import DataSpec
from ppgen.errors import UsageError, nearest, shown
from ppgen.layers.convolutions import ConvDecoder, ConvEncoder, RandomShift
from ppgen.layers.dense import ACTIVATIONS, MLP, BatchNorm

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "BatchNorm",
    "ConditionalNormal",
    "ConvDecoder",
    "ConvEncoder",
    "Networks",
]

NETWORKS = ("mlp", "conv")


class ConditionalNormal(nn.Module):
    """A diagonal Gaussian given by a network: inputs to N(loc, diag(exp(log_scale))^2).

    Args:
        network: maps (..., num_inputs) to (..., 2 * dim); the first half is loc, the second the log-scale.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Any:
        loc, log_scale = self.network(inputs).chunk(2, dim=-1)  # (..., dim) each
        return dist.Normal(loc, log_scale.exp()).to_event(1)


@dataclass(frozen=True)
class Networks:
    """Builds encoders of a data set's x and decoders to it, mirror images of each other.

    Args:
        spec: what one datum is.
        network: ``"mlp"``, or ``"conv"`` for pictures.
        hidden: sizes of the encoder's dense hidden layers.
        channels: channels of the encoder's convolutions, for ``"conv"``.
        activation: a name in ``ACTIVATIONS``.
        batch_norm: normalise the hidden layers of decoders, of ``"mlp"`` alone.

    Raises:
        UsageError: a size is not positive, a name is unknown, ``"conv"`` meets data without image shape or batch_norm.
    """

    spec: DataSpec
    network: str = "mlp"
    hidden: Sizes = (200, 200)
    channels: Annotated[Sizes, Len(1)] = (32, 64)
    activation: str = "tanh"
    batch_norm: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.network not in NETWORKS:
            raise UsageError(
                f"expected the name of a network, got {shown(self.network)}{nearest(self.network, NETWORKS)}"
            )
        if self.network == "conv" and self.spec.image_shape is None:
            raise UsageError(
                f"network='conv' needs pictures, but data {shown(self.spec.name)} have no image_shape: use "
                "network='mlp'."
            )
        if self.network == "conv" and self.batch_norm:
            raise UsageError("batch_norm normalises dense layers, and got network='conv': use network='mlp'.")

    def encoder(self, num_outputs: int, *, kernel: int = 3, dropout: float = 0.0) -> nn.Module:
        """A network from x to numbers: (..., num_features) to (..., num_outputs).

        Convolutions are ``kernel`` x ``kernel``; the share ``dropout`` of hidden numbers is put to zero in training.
        """
        if self.network == "mlp":
            return MLP(self.spec.num_features, num_outputs, self.hidden, self.activation, dropout=dropout)
        shape = self._picture(self.spec.num_features)
        return ConvEncoder(
            shape, num_outputs, self.channels, self.hidden, self.activation, kernel=kernel, dropout=dropout
        )

    def decoder(self, num_inputs: int, num_outputs: int, bias: Tensor | None = None) -> nn.Module:
        """A network from numbers to a likelihood's: (..., num_inputs) to (..., num_outputs).

        Its last bias starts at ``bias``, (num_outputs,).
        """
        hidden, channels = self.hidden[::-1], self.channels[::-1]
        if self.network == "mlp":
            return MLP(num_inputs, num_outputs, hidden, self.activation, bias, batch_norm=self.batch_norm)
        return ConvDecoder(num_inputs, self._picture(num_outputs), channels, hidden, self.activation, bias)

    def random_shift(self, most: int) -> RandomShift:
        """Moves pictures by up to ``most`` pixels at random in training; 0: it leaves x as it is.

        Raises:
            UsageError: ``most`` is negative, or the data have no image shape.
        """
        if most and self.spec.image_shape is None:
            raise UsageError(
                f"max_shift={most} moves pictures, but data {shown(self.spec.name)} have no image_shape: leave it at 0."
            )
        features = self.spec.num_features
        return RandomShift(self._picture(features) if most else (1, 1, features), most)

    def _picture(self, numbers: int) -> tuple[int, int, int]:
        """(C, H, W) of so many numbers at the picture's height and width."""
        height, width = (self.spec.image_shape or ())[-2:]
        return numbers // (height * width), height, width
