"""The networks that pairs are built of: dense and convolutional, from features to numbers and back.

Every network maps the last dim and takes any number of dims before it: (B, D) from the data, (K, B, latent)
from K particles. Weights start Glorot-uniform, biases at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import pyro.distributions as dist
from annotated_types import Len
from torch import Tensor, nn

from ppgen.arguments import Sizes, Words, check_fields, one_of
from ppgen.data.spec import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.convolutions import ConvDecoder, ConvEncoder, RandomShift
from ppgen.layers.dense import ACTIVATIONS, MLP, Activation, Maker, made_module
from ppgen.layers.flows import Flow
from ppgen.layers.normalisation import BatchNorm, Normalisation
from ppgen.layers.semi_implicit import SemiImplicit
from ppgen.layers.words import check_no_symbols

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "Activation",
    "BatchNorm",
    "ConditionalNormal",
    "ConvDecoder",
    "ConvEncoder",
    "Network",
    "Networks",
]

NETWORKS = ("mlp", "conv")

Network: TypeAlias = Annotated[
    str | Maker, Words("the name of a network, or what makes one of the sizes of its input and its output")
]
"""A name in ``NETWORKS``, or what makes the module of two sizes: ``make(num_inputs, num_outputs)``."""


class ConditionalNormal(nn.Module):
    """A diagonal Gaussian given by a network, N(loc, diag(exp(log_scale))^2) of inputs, which a flow or noise may bend.

    Args:
        network: maps (..., num_inputs) to (..., 2 * dim): the first half is loc, the second the log-scale; with a flow
            to as many and the flow's context.
        flow: bends the Gaussian, given the context, or moves it by noise; None: it stays one.
    """

    def __init__(self, network: nn.Module, flow: Flow | SemiImplicit | None = None) -> None:
        super().__init__()
        self.network, self.flow = network, flow

    def forward(self, inputs: Tensor) -> Any:
        base, context = self._read(inputs)
        return base if self.flow is None else self.flow(base, context)

    def centre(self, inputs: Tensor) -> Tensor:
        """The Gaussian's mean, (..., dim), or where the flow, or noise of 0, puts it: they know none of their own."""
        base, context = self._read(inputs)
        mean: Tensor = base.mean if self.flow is None else self.flow.centre(base, context)
        return mean

    def _read(self, inputs: Tensor) -> tuple[Any, Tensor]:
        """The Gaussian, and the flow's context, (..., 0) without one."""
        outputs = self.network(inputs)
        numbers = outputs.shape[-1] - (0 if self.flow is None else self.flow.context_dim)
        gaussian, context = outputs.tensor_split([numbers], dim=-1)
        loc, log_scale = gaussian.chunk(2, dim=-1)  # (..., dim) each
        return dist.Normal(loc, log_scale.exp()).to_event(1), context


@dataclass(frozen=True)
class Networks:
    """Builds encoders of a data set's x and decoders to it, mirror images of each other.

    Args:
        spec: what one datum is.
        network: ``"mlp"``, or ``"conv"`` for pictures; or what makes a network of the sizes of its input and its
            output, a class or ``functools.partial(MLP, hidden=(50,))``: the arguments below are not its.
        hidden: sizes of the encoder's dense hidden layers.
        channels: channels of the encoder's convolutions, for ``"conv"``.
        activation: a name in ``ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        batch_norm: normalise the hidden layers of decoders over the batch; of the networks with a name.

    Raises:
        UsageError: a size is not positive, a name is unknown, ``"conv"`` meets data without image shape, or
            batch_norm a network of the user's own.
    """

    spec: DataSpec
    network: Network = "mlp"
    hidden: Sizes = (200, 200)
    channels: Annotated[Sizes, Len(1)] = (32, 64)
    activation: Activation = "tanh"
    batch_norm: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        check_no_symbols(self.spec)
        if isinstance(self.network, str):
            one_of("expected the name of a network, got", self.network, NETWORKS)
        if self.network == "conv" and self.spec.image_shape is None:
            raise UsageError(
                f"network='conv' needs pictures, but data {shown(self.spec.name)} have no image_shape: use "
                "network='mlp'."
            )
        self._check_named(self.batch_norm)

    def encoder(
        self, num_outputs: int, *, kernel: int = 3, dropout: float = 0.0, batch_norm: bool = False
    ) -> nn.Module:
        """A network from x to numbers: (..., num_features) to (..., num_outputs).

        Convolutions are ``kernel`` x ``kernel``; the share ``dropout`` of hidden numbers is put to zero in training.

        Raises:
            UsageError: ``batch_norm`` is asked of a network of the user's own.
        """
        self._check_named(batch_norm)
        normal: Normalisation = "batch" if batch_norm else "none"
        options: dict[str, Any] = {"normalisation": normal, "dropout": dropout}
        num_inputs = self.spec.num_features
        if callable(self.network):
            return made_module("network", self.network, num_inputs, num_outputs)
        if self.network == "mlp":
            return MLP(num_inputs, num_outputs, self.hidden, self.activation, **options)
        shape = self._picture(num_inputs)
        return ConvEncoder(shape, num_outputs, self.channels, self.hidden, self.activation, kernel=kernel, **options)

    def decoder(self, num_inputs: int, num_outputs: int, bias: Tensor | None = None) -> nn.Module:
        """A network from numbers to a likelihood's: (..., num_inputs) to (..., num_outputs).

        The last bias of those with a name starts at ``bias``, (num_outputs,).
        """
        if callable(self.network):
            return made_module("network", self.network, num_inputs, num_outputs)
        hidden, channels = self.hidden[::-1], self.channels[::-1]
        options: dict[str, Any] = {"bias": bias, "normalisation": "batch" if self.batch_norm else "none"}
        if self.network == "mlp":
            return MLP(num_inputs, num_outputs, hidden, self.activation, **options)
        return ConvDecoder(num_inputs, self._picture(num_outputs), channels, hidden, self.activation, **options)

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

    def _check_named(self, batch_norm: bool) -> None:
        if batch_norm and not isinstance(self.network, str):
            raise UsageError(
                f"batch_norm is that of the networks {', '.join(NETWORKS)}, and got network={shown(self.network)}: put "
                "it into your own, or leave it out."
            )

    def _picture(self, numbers: int) -> tuple[int, int, int]:
        """(C, H, W) of so many numbers at the picture's height and width."""
        height, width = (self.spec.image_shape or ())[-2:]
        return numbers // (height * width), height, width
