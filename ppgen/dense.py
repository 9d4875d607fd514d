"""Dense layers, and what all layers share: sizes that are checked, activations by name, initial values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ppgen.errors import UsageError, nearest

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "BatchNorm",
    "check_positive",
    "check_share",
    "check_size",
    "check_sizes",
    "glorot",
    "make_activation",
    "start_bias",
]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": partial(nn.LeakyReLU, 0.2),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


class MLP(nn.Module):
    """Dense layers: (..., num_inputs) to (..., num_outputs).

    Args:
        num_inputs: size of the last dim of the input.
        num_outputs: size of the last dim of the output, which has no activation.
        hidden: sizes of the hidden layers; ``()`` is a linear map.
        activation: a name in ``ACTIVATIONS``.
        bias: initial bias of the last layer, (num_outputs,); zero if None.
        batch_norm: normalise each hidden layer before its activation (:class:`BatchNorm`).
        dropout: the share of each hidden layer's numbers that are put to zero in training.

    Raises:
        UsageError: a hidden size is not a positive integer, the activation is unknown, or the share is not in [0, 1).

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
        *,
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        dropped = [nn.Dropout(dropout)] if check_share("dropout", dropout) else []
        sizes = [num_inputs, *check_sizes("hidden", hidden)]
        for inputs, outputs in pairwise(sizes):
            normal = [BatchNorm(outputs, learn_scale=True)] if batch_norm else []
            layers += [glorot(nn.Linear(inputs, outputs)), *normal, make_activation(activation), *dropped]
        last = nn.Linear(sizes[-1], num_outputs)
        self.layers = nn.Sequential(*layers, glorot(last))
        start_bias(last.bias, bias)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)  # type: ignore[no-any-return]  # torch's modules return Any


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over all dims but the last, which stays in place, and a learned ``shift``.

    In training by the mean and variance of what is given, in ``eval()`` by their running averages. It keeps the latents
    of an amortised guide from collapsing onto the prior in the first steps (Srivastava and Sutton 2017, section 3.3).

    Args:
        size: of the last dim.
        learn_scale: learn the standard deviation, too; else it is 1.

    Raises:
        UsageError: in training, when only one row is given: it has no variance.
    """

    def __init__(self, size: int, *, learn_scale: bool = False) -> None:
        super().__init__(size, affine=False)
        self.shift = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.ones(size)) if learn_scale else None

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1])
        if self.training and len(rows) == 1:
            raise UsageError(
                "batch normalisation takes batches of at least 2 data in training, got 1: raise batch_size."
            )
        normal = super().forward(rows).view_as(inputs)
        return (normal if self.scale is None else normal * self.scale) + self.shift


def check_sizes(name: str, sizes: Any, *, least: int = 0, most: int | None = None) -> tuple[int, ...]:
    """``sizes`` as a tuple, if it is a list of ``least`` to ``most`` positive integers.

    Raises:
        UsageError: it is not; ``name`` says which argument.
    """
    count = len(sizes) if isinstance(sizes, list | tuple) else -1
    if not least <= count <= (count if most is None else most) or not all(map(_is_size, sizes)):
        number = "" if least == 0 else f", {least} of them" if least == most else f", at least {least}"
        raise UsageError(f"{name} must be a list of positive integers{number}, got {sizes!r}.")
    return tuple(sizes)


def check_size(name: str, size: Any) -> int:
    """``size``, if it is a positive integer.

    Raises:
        UsageError: it is not; ``name`` says which argument.
    """
    if not _is_size(size):
        raise UsageError(f"{name} must be a positive integer, got {size!r}.")
    return int(size)


def check_positive(name: str, number: Any) -> float:
    """``number``, if it is positive and finite.

    Raises:
        UsageError: it is not; ``name`` says which argument.
    """
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
        raise UsageError(f"{name} must be a positive number, got {number!r}.")
    return float(number)


def _is_size(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size >= 1


def check_share(name: str, share: Any) -> float:
    """``share``, if it is a number in [0, 1).

    Raises:
        UsageError: it is not; ``name`` says which argument.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise UsageError(f"{name} must be a number of at least 0 and below 1, got {share!r}.")
    return float(share)


def make_activation(name: str) -> nn.Module:
    """The activation of that name.

    Raises:
        UsageError: there is none; the nearest names are suggested.
    """
    if name not in ACTIVATIONS:
        raise UsageError(f"expected the name of an activation, got {name!r}{nearest(str(name), ACTIVATIONS)}")
    return ACTIVATIONS[name]()


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
