"""The network that makes data of latents, what every implicit model ends with; and the pair that is nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn

from ppgen.arguments import Words
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.dense import Maker, made_module
from ppgen.layers.networks import Networks
from ppgen.pairs.pair import Pair

__all__ = ["Generator", "Output", "Prior", "PushForward", "made_prior"]

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


class Generator(nn.Sequential):
    """A decoder and the output's function: (..., num_inputs) to (..., D), which starts at the mean of training data.

    Args:
        networks: of the data, the generator's ``hidden`` and ``channels`` in reverse.
        num_inputs: how many numbers it makes a datum of.
        output: ``"identity"``, ``"sigmoid"`` or ``"tanh"``, or what makes a module of the same shape; None: sigmoid for
            data in [0, 1] by their kind (binary, quantised), identity for real data.
        made_for: the model's name, for messages.

    Raises:
        UsageError: the data are counts, or names.

    >>> Generator(Networks(DataSpec("plane", 2, "real"), hidden=(4,)), 3, None, "GAN")(torch.zeros(7, 3)).shape
    torch.Size([7, 2])
    """

    def __init__(self, networks: Networks, num_inputs: int, output: Output | None, made_for: str) -> None:
        spec = networks.spec
        kind = _output_for(spec, output, made_for)
        last = _output(kind)
        bias = None if spec.mean is None or last.inverse is None else last.inverse(spec.mean)
        super().__init__(networks.decoder(num_inputs, spec.num_features, bias=bias), last.layer())
        self.output, self.made_for = kind, made_for

    def check(self, x: Tensor) -> None:
        """Check that it can make such data, as Pyro's distributions do: while its validation is on.

        Raises:
            UsageError: a number of x is outside its range.
        """
        low, high = _output(self.output).low, _output(self.output).high
        if is_validation_enabled() and bool(((x < low) | (x > high)).any()):
            raise UsageError(
                f"x holds numbers from {float(x.min()):g} to {float(x.max()):g}, and {_article(self.made_for)} "
                f"{self.made_for} with output={shown(self.output)} makes numbers from {low:g} to {high:g}: rescale "
                "the data, or choose output='identity'."
            )


class PushForward(Pair):
    """A latent vector pushed through a generator, x = G(z), z ~ p(z); nothing infers z. One batch is ``(x,)``, (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, a point mass at G(z), in the plate ``data``

    A subclass makes ``latent_dim``, ``prior`` (:func:`made_prior`) and ``generator``.
    """

    implicit: ClassVar[bool] = True

    latent_dim: int
    prior: Callable[[Tensor], Any]
    generator: Generator

    def prepare(self, *batch: Tensor) -> None:
        """Check that the generator can make such data."""
        self.generator.check(batch[0])

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)
            pyro.sample("x", dist.Delta(self.generator(z), event_dim=1), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)


def made_prior(prior: Prior, latent_dim: int) -> Callable[[Tensor], Any]:
    """What makes the prior, tried on as many zeros.

    Raises:
        UsageError: it makes no distribution of them.
    """
    make = _PRIORS[prior] if isinstance(prior, str) else prior
    found = make(torch.zeros(latent_dim))
    if not isinstance(found, TorchDistributionMixin) or found.shape() != (latent_dim,) or found.event_dim:
        raise UsageError(
            f"prior={shown(prior)} must make a Pyro distribution of each of {latent_dim} zeros, as lambda zeros: "
            f"dist.Normal(zeros, 1.0) does, and makes {shown(found)}."
        )
    return make


def _output_for(spec: DataSpec, output: Output | None, made_for: str) -> Output:
    """The output, by the kind of data where none is given."""
    if spec.observation not in _DEFAULTS:
        raise UsageError(
            f"{made_for} makes real numbers, and data {shown(spec.name)} are {spec.in_words}, whose draws have no "
            "gradient: choose a model for them (`ppgen list models`)."
        )
    return output or _DEFAULTS[spec.observation]


def _output(output: Output) -> _Output:
    return _OUTPUTS[output] if isinstance(output, str) else _Output(partial(made_module, "output", output))


def _article(name: str) -> str:
    return "an" if name[0] in "AEIO" else "a"
