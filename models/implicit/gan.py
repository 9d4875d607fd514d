"""The generator of a GAN: a latent vector, and a network that makes x of it; x has no density.

    p(z) = N(0, I)  or  U(-1, 1)^latent                 z: (latent,)
    x    = G(z),    G = output(network)                 x | z is a point, not a distribution

    q(z) = p(z)                                         nothing infers z

The distribution of x is the image of p(z), on a surface of at most as many dimensions as z: there is no p(x | z) that
log-weights could be made of. What trains it reads draws: an adversarial objective, whose critic is the other half of a
GAN, or a kernel discrepancy. What judges it reads draws too.

Reference: Generative Adversarial Nets, Goodfellow et al., 2014.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.pairs.pair import Pair
from ppgen.registry import register_model

__all__ = ["GAN"]


@dataclass(frozen=True)
class _Output:
    """The last function of the generator: its range, and the number that it maps to the training mean."""

    layer: Callable[[], nn.Module]
    low: float
    high: float
    inverse: Callable[[Tensor], Tensor]


_OUTPUTS = {
    "identity": _Output(nn.Identity, -torch.inf, torch.inf, lambda mean: mean),
    "sigmoid": _Output(nn.Sigmoid, 0.0, 1.0, lambda mean: mean.clamp(0.001, 0.999).logit()),
    "tanh": _Output(nn.Tanh, -1.0, 1.0, lambda mean: mean.clamp(-0.999, 0.999).atanh()),
}

_PRIORS: dict[str, Callable[[Tensor], Any]] = {
    "normal": lambda zeros: dist.Normal(zeros, torch.ones_like(zeros)),
    "uniform": lambda zeros: dist.Uniform(zeros - 1, zeros + 1),
}

_DEFAULTS = {"binary": "sigmoid", "quantised": "sigmoid", "real": "identity"}
"""The output for each kind of data; other kinds have no generator here."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return GAN(DataSpec("tiny", 6, "real", num_data=20), 3, hidden=(4,)), (torch.randn(5, 6),)


@register_model(
    "gan",
    summary="the generator of a GAN: a network of a latent vector, without a density",
    reference="Goodfellow et al., Generative adversarial nets",
    year=2014,
    link="https://arxiv.org/abs/1406.2661",
    tags=("continuous", "implicit"),
    tiny=_tiny,
)
class GAN(Pair):
    """Generator of a GAN. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, a point mass at G(z), in the plate ``data``

    Args:
        spec: what one datum is: its size, its kind, and the mean of the training data, at which the output starts.
        latent_dim: size of z.
        hidden: sizes of the hidden layers, from z to x.
        prior: of z, ``"normal"`` or ``"uniform"`` (on -1 to 1).
        output: ``"identity"``, ``"sigmoid"`` or ``"tanh"``; None: sigmoid for data in [0, 1] by their kind (binary,
            quantised), identity for real data.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape: dense layers, then transposed convolutions; or
            what makes a network of the sizes of its input and its output.
        channels: channels of the convolutions of ``"conv"``, from z to x.
        batch_norm: normalise the hidden layers of ``"mlp"`` over the batch, which speeds up training on pictures.

    Raises:
        UsageError: a size is not positive, a name is unknown, or the data are counts.
    """

    implicit: ClassVar[bool] = True

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 32,
        *,
        hidden: Sizes = (256, 256),
        prior: Literal["normal", "uniform"] = "normal",
        output: Literal["identity", "sigmoid", "tanh"] | None = None,
        activation: Activation = "relu",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (64, 32),
        batch_norm: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim = latent_dim
        self.prior = _PRIORS[prior]
        self.output = _output_for(spec, output)
        bias = None if spec.mean is None else _OUTPUTS[self.output].inverse(spec.mean)
        networks = Networks(spec, network, hidden[::-1], channels[::-1], activation, batch_norm)
        decoder = networks.decoder(latent_dim, spec.num_features, bias=bias)
        self.generator = nn.Sequential(decoder, _OUTPUTS[self.output].layer())

    def prepare(self, *batch: Tensor) -> None:
        """Check that the generator can make such data, as Pyro's distributions do: while its validation is on."""
        if is_validation_enabled():
            _check_range(batch[0], self.output)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)
            pyro.sample("x", dist.Delta(self.generator(z), event_dim=1), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)


def _output_for(spec: DataSpec, output: str | None) -> str:
    """The name of the output, by the kind of data where none is given."""
    if spec.observation not in _DEFAULTS:
        raise UsageError(
            f"GAN makes real numbers, and data {shown(spec.name)} are {spec.observation}, whose draws have no "
            "gradient: choose a model for them (`ppgen list models`)."
        )
    return output or _DEFAULTS[spec.observation]


def _check_range(x: Tensor, output: str) -> None:
    low, high = _OUTPUTS[output].low, _OUTPUTS[output].high
    if bool(((x < low) | (x > high)).any()):
        raise UsageError(
            f"x holds numbers from {float(x.min()):g} to {float(x.max()):g}, and a GAN with output={shown(output)} "
            f"makes numbers from {low:g} to {high:g}: rescale the data, or choose output='identity'."
        )
