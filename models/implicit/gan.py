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
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn

from ppgen.arguments import Count, Sizes, Words
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.dense import Maker, made_module
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["GAN"]


Prior: TypeAlias = (
    Literal["normal", "uniform"]
    | Annotated[Callable[[Tensor], Any], Words("what makes a Pyro distribution of each of the zeros it is given")]
)
Output: TypeAlias = Literal["identity", "sigmoid", "tanh"] | Annotated[Maker, Words("what makes a torch.nn.Module")]


@dataclass(frozen=True)
class _Output:
    """The last function of the generator: its range, and the number that it maps to the training mean, where known."""

    layer: Callable[[], nn.Module]
    inverse: Callable[[Tensor], Tensor] | None = None
    low: float = -torch.inf
    high: float = torch.inf


_OUTPUTS = {
    "identity": _Output(nn.Identity, lambda mean: mean),
    "sigmoid": _Output(nn.Sigmoid, lambda mean: mean.clamp(0.001, 0.999).logit(), 0.0, 1.0),
    "tanh": _Output(nn.Tanh, lambda mean: mean.clamp(-0.999, 0.999).atanh(), -1.0, 1.0),
}

_PRIORS: dict[str, Callable[[Tensor], Any]] = {
    "normal": lambda zeros: dist.Normal(zeros, torch.ones_like(zeros)),
    "uniform": lambda zeros: dist.Uniform(zeros - 1, zeros + 1),
}

_DEFAULTS: dict[str, Output] = {"binary": "sigmoid", "quantised": "sigmoid", "real": "identity"}
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
    recommended=(
        Recommended(
            "wasserstein_gp",
            {"hidden": (256, 256, 256), "critic_steps": 1},
            {"steps": 5_000, "batch_size": 500},
            kinds=("binary", "quantised"),
        ),
        Recommended(
            "wasserstein_gp",
            {"hidden": (64, 64), "weight": 0.1, "critic_steps": 2},
            {"steps": 12_000, "batch_size": 128, "lr": 2e-3},
        ),
    ),
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
        prior: of z, ``"normal"`` or ``"uniform"`` (on -1 to 1); or what makes a Pyro distribution of each of (latent,)
            zeros: ``lambda zeros: dist.Laplace(zeros, 1.0)``.
        output: ``"identity"``, ``"sigmoid"`` or ``"tanh"``, whose range is checked to hold the data; or what makes a
            module of the same shape: ``torch.nn.Softplus``. None: sigmoid for data in [0, 1] by their kind (binary,
            quantised), identity for real data.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape: dense layers, then transposed convolutions; or
            what makes a network of the sizes of its input and its output.
        channels: channels of the convolutions of ``"conv"``, from z to x.
        batch_norm: normalise the hidden layers of ``"mlp"`` over the batch, which speeds up training on pictures.

    Raises:
        UsageError: a size is not positive, a name is unknown, the data are counts, or the prior makes no distribution
            of (latent,) numbers.

    >>> import ppgen
    >>> pair = GAN(DataSpec("ring", 2, "real"), latent_dim=3, hidden=(16,))
    >>> run = ppgen.fit(pair, torch.randn(20, 2), "nonsaturating", steps=2, eager=True)
    >>> ppgen.draws.prior_samples(pair, (torch.zeros(1, 2),), 100).x.shape
    torch.Size([100, 2])
    """

    implicit: ClassVar[bool] = True

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 32,
        *,
        hidden: Sizes = (256, 256),
        prior: Prior = "normal",
        output: Output | None = None,
        activation: Activation = "relu",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (64, 32),
        batch_norm: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim = latent_dim
        self.prior = _prior(prior, latent_dim)
        self.output = _output_for(spec, output)
        last = _output(self.output)
        bias = None if spec.mean is None or last.inverse is None else last.inverse(spec.mean)
        networks = Networks(spec, network, hidden[::-1], channels[::-1], activation, batch_norm)
        decoder = networks.decoder(latent_dim, spec.num_features, bias=bias)
        self.generator = nn.Sequential(decoder, last.layer())

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


def _prior(prior: Prior, latent_dim: int) -> Callable[[Tensor], Any]:
    """What makes the prior, tried on as many zeros."""
    make = _PRIORS[prior] if isinstance(prior, str) else prior
    found = make(torch.zeros(latent_dim))
    if not isinstance(found, TorchDistributionMixin) or found.shape() != (latent_dim,) or found.event_dim:
        raise UsageError(
            f"prior={shown(prior)} must make a Pyro distribution of each of {latent_dim} zeros, as lambda zeros: "
            f"dist.Normal(zeros, 1.0) does, and makes {shown(found)}."
        )
    return make


def _output_for(spec: DataSpec, output: Output | None) -> Output:
    """The output, by the kind of data where none is given."""
    if spec.observation not in _DEFAULTS:
        raise UsageError(
            f"GAN makes real numbers, and data {shown(spec.name)} are {spec.observation}, whose draws have no "
            "gradient: choose a model for them (`ppgen list models`)."
        )
    return output or _DEFAULTS[spec.observation]


def _output(output: Output) -> _Output:
    return _OUTPUTS[output] if isinstance(output, str) else _Output(partial(made_module, "output", output))


def _check_range(x: Tensor, output: Output) -> None:
    low, high = _output(output).low, _output(output).high
    if bool(((x < low) | (x > high)).any()):
        raise UsageError(
            f"x holds numbers from {float(x.min()):g} to {float(x.max()):g}, and a GAN with output={shown(output)} "
            f"makes numbers from {low:g} to {high:g}: rescale the data, or choose output='identity'."
        )
