"""Dense layers, and what all layers share: activations by name, initial values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, TypeAlias

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from ppgen.arguments import Count, Share, Sizes, Words, checked, one_of
from ppgen.errors import UsageError, shown
from ppgen.layers.normalisation import Normalisation, normalising
from ppgen.schedules import Schedule

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Activation",
    "Maker",
    "glorot",
    "made_module",
    "make_activation",
    "start_bias",
]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": partial(nn.LeakyReLU, 0.2),
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def _no_schedule(make: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(make, Schedule):
        raise ValueError("makes numbers")
    return make


Maker: TypeAlias = Annotated[Callable[..., nn.Module], AfterValidator(_no_schedule)]
"""A class, ``functools.partial`` or function that makes a module."""

Activation: TypeAlias = Annotated[
    str | Maker, Words("the name of an activation, or what makes one, such as torch.nn.ReLU")
]
"""A name in ``ACTIVATIONS``, or what makes the module of no arguments."""


class MLP(nn.Module):
    """Dense layers: (..., num_inputs) to (..., num_outputs).

    Args:
        num_inputs: size of the last dim of the input.
        num_outputs: size of the last dim of the output, which has no activation.
        hidden: sizes of the hidden layers; ``()`` is a linear map.
        activation: a name in ``ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        bias: initial bias of the last layer, (num_outputs,); zero if None.
        normalisation: of each hidden layer before its activation (:mod:`ppgen.layers.normalisation`).
        num_reference: how many rows come first as the reference batch, where the layers are normalised by one.
        dropout: the share of each hidden layer's numbers that are put to zero in training.

    Raises:
        UsageError: a hidden size is not a positive integer, the activation is unknown, or the share is not in [0, 1).

    >>> MLP(3, 2, hidden=(4,))(torch.zeros(7, 5, 3)).shape
    torch.Size([7, 5, 2])
    """

    @checked
    def __init__(
        self,
        num_inputs: Count,
        num_outputs: Count,
        hidden: Sizes = (200, 200),
        activation: Activation = "tanh",
        bias: Tensor | None = None,
        *,
        normalisation: Normalisation = "none",
        num_reference: int = 0,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        dropped = [nn.Dropout(dropout)] if dropout else []
        sizes = [num_inputs, *hidden]
        for inputs, outputs in pairwise(sizes):
            normal = normalising(normalisation, outputs, num_reference)
            layers += [glorot(nn.Linear(inputs, outputs)), *normal, make_activation(activation), *dropped]
        last = nn.Linear(sizes[-1], num_outputs)
        self.layers = nn.Sequential(*layers, glorot(last))
        start_bias(last.bias, bias)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)  # type: ignore[no-any-return]  # torch's modules return Any

    def features(self, inputs: Tensor) -> Tensor:
        """What the last layer is given, (..., num_inputs) to (..., H)."""
        return self.layers[:-1](inputs)  # type: ignore[no-any-return]


def make_activation(activation: Activation) -> nn.Module:
    """The activation of that name, or the one that is made.

    Raises:
        UsageError: there is none of that name, and the nearest are suggested; it makes no module.
    """
    if isinstance(activation, str):
        one_of("expected the name of an activation, got", activation, ACTIVATIONS)
        activation = ACTIVATIONS[activation]
    return made_module("activation", activation)


def made_module(option: str, make: Callable[..., Any], *arguments: Any) -> nn.Module:
    """The module that the user's class, partial or function makes.

    Args:
        option: that gave it.
        make: what makes it.
        arguments: what it is called with.

    Raises:
        UsageError: it does not take these arguments, or makes something else.
    """
    try:
        found = make(*arguments)
    except TypeError as error:
        raise UsageError(f"{option}={shown(make)} cannot be called with {shown(arguments)}: {error}.") from error
    if not isinstance(found, nn.Module):
        raise UsageError(f"{option}={shown(make)} must make a torch.nn.Module, and makes a {type(found).__name__}.")
    return found


def glorot(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """``layer`` with Glorot-uniform weights and zero bias."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def start_bias(bias: Any, value: Tensor | None) -> None:
    """Let the parameter ``bias`` start at ``value``, where one is given."""
    if value is not None:
        with torch.no_grad():
            bias.copy_(value)
