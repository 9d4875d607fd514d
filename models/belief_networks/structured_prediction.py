"""Structured prediction: the lower half of a picture given its upper half, through layers of discrete units.

With x = (u, v), u the first half of the numbers of a datum (the upper rows of a picture) and v the rest,

    p(z_1 | u)       = discrete units of network_1(u - mean)                    binary, or categorical
    p(z_l | z_{l-1}) = discrete units of network_l(code(z_{l-1}))
    p(v | z_L)       = the spec's likelihood of decoder(code(z_L))

    q(z | x)         = p(z | u): the model's own layers, or, with ``recognition=True``,
    q(z_l | z_{l-1}, x) = discrete units of encoder_l(x - mean, code(z_{l-1}))

The pair models p(v | u): u is given and never scored; evaluation is in nats per lower half, and draws are whole
pictures whose upper half is the given one. With the model's own layers as the guide, log p(z | u) - log q(z | x) is
zero and the log-weights are log p(v | z_L): the K-particle bound is then that of Raiko et al.

Reference: Techniques for Learning Binary Stochastic Feedforward Neural Networks, Raiko et al., 2015. The sizes
392-200-200-392, and (20 x 10)-(20 x 10) categorical units: Jang, Gu and Poole, Categorical Reparameterization with
Gumbel-Softmax, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated

import pyro
import torch
from annotated_types import Ge, Len
from torch import Tensor, nn

from ppgen.arguments import Sizes
from ppgen.data import DataSpec
from ppgen.distributions.completion import Completion
from ppgen.errors import UsageError, shown
from ppgen.layers.discrete_units import DiscreteUnits
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import MLP, Activation
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["StructuredPrediction"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return StructuredPrediction(spec, (3, 2), recognition=True), (torch.rand(5, 6).round(),)


@register_model(
    "structured_prediction",
    summary="the lower half of a picture given the upper, through layers of binary or categorical units",
    reference="Raiko et al., Techniques for learning binary stochastic feedforward neural networks",
    year=2015,
    link="https://arxiv.org/abs/1406.2989",
    tags=("discrete", "conditional", "hierarchical"),
    tiny=_tiny,
    recommended=Recommended("vimco", {"num_particles": 20}, {"steps": 20_000, "batch_size": 50}),
)
class StructuredPrediction(Pair):
    """The lower half of x given the upper half. One batch is ``(x,)``, x of shape (B, D), whole pictures.

    Sites:
        z1: (layers[0],), in {0, 1}, or (layers[0], classes), one-hot rows; in the plate ``data``
        z2: of the next layer, and so on: the last is next to the lower half
        x: (D,), observed, in the plate ``data``; its log-probability is that of the lower half

    Args:
        spec: what one datum is, whole.
        layers: numbers of units, from the upper half to the lower.
        classes: 2 makes the units binary.
        hidden: sizes of the deterministic layers between two layers; ``()``: linear.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        recognition: whether the guide has networks of its own, which see both halves.

    Raises:
        UsageError: a datum has fewer than two numbers, a size is not positive, there are fewer than two classes, or
            the activation is unknown.

    >>> from ppgen.draws import prior_samples
    >>> pair = StructuredPrediction(DataSpec("pictures", 64, "binary"), layers=(5, 5))
    >>> x = torch.rand(3, 64).round()
    >>> torch.equal(prior_samples(pair, (x,), 3).x[:, :32], x[:, :32])  # the upper half is the given one
    True
    """

    mean: Tensor

    def __init__(
        self,
        spec: DataSpec,
        layers: Annotated[Sizes, Len(1)] = (200, 200),
        *,
        classes: Annotated[int, Ge(2)] = 2,
        hidden: Sizes = (),
        activation: Activation = "tanh",
        recognition: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        if spec.num_features < 2:
            raise UsageError(f"StructuredPrediction needs data of two numbers or more, and {shown(spec.name)} has one.")
        if spec.observation in ("mixed", "categorical"):
            raise UsageError(
                f"StructuredPrediction needs numbers of one kind, whose halves are of it too, but data "
                f"{shown(spec.name)} are {spec.in_words}."
            )
        self.given = spec.num_features // 2
        units = [DiscreteUnits(num, classes) for num in layers]
        sizes = [layer.num_numbers for layer in units]
        self.units: Sequence[DiscreteUnits] = nn.ModuleList(units)  # type: ignore[assignment]  # a list of any modules
        self.register_buffer("mean", spec.centre)
        self.networks = nn.ModuleList(MLP(a, b, hidden, activation) for a, b in pairwise([self.given, *sizes]))
        rest = None if spec.mean is None else spec.mean[self.given :]
        lower = replace(spec, num_features=spec.num_features - self.given, mean=rest, image_shape=None, vocabulary=None)
        self.likelihood = likelihood(lower)
        bias = self.likelihood.initial_bias(lower.mean)
        self.decoder = MLP(sizes[-1], self.likelihood.num_outputs, hidden, activation, bias)
        above = [0, *sizes[:-1]] if recognition else []
        self.encoders = nn.ModuleList(
            MLP(spec.num_features + a, b, hidden, activation) for a, b in zip(above, sizes, strict=False)
        )

    def model(self, x: Tensor) -> None:
        upper, lower = x[..., : self.given], x[..., self.given :]
        with self.data_plate(x):
            code = self._layers(upper - self.mean[: self.given])
            rest = self.likelihood(self.decoder(code), lower)  # (K, B, D - D // 2)
            pyro.sample("x", Completion(upper, rest), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        seen = x - self.mean  # (B, D)
        with self.data_plate(x):
            if not self.encoders:
                self._layers(seen[..., : self.given])
            code = seen[..., :0]
            for level, (encoder, units) in enumerate(zip(self.encoders, self.units, strict=False), start=1):
                inputs = torch.cat([seen.expand(*code.shape[:-1], -1), code], -1)
                code = units.code(pyro.sample(f"z{level}", units(encoder(inputs))))  # (K, B, numbers)

    def _layers(self, code: Tensor) -> Tensor:
        """The sites of p(z | u), from the upper half less its mean to the code of the last layer, (K, B, numbers)."""
        for level, (network, units) in enumerate(zip(self.networks, self.units, strict=True), start=1):
            code = units.code(pyro.sample(f"z{level}", units(network(code))))
        return code
