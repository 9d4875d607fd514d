"""In which order an autoregressive model draws the features of a datum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import torch
from torch import Tensor

from ppgen.arguments import Words
from ppgen.data.spec import DataSpec
from ppgen.distributions.autoregressive import checked_order
from ppgen.errors import UsageError, shown

__all__ = ["Order", "check_binary", "order_of", "orders_of", "ranks"]

Order: TypeAlias = Annotated[
    Literal["raster", "random"] | Sequence[int], Words("'raster', 'random', or a permutation of 0 to D - 1")
]
"""``"raster"``, as features stand in x; ``"random"``, by a seed; or the features themselves, first to last."""


def order_of(order: Order, num_features: int, seed: int = 0) -> Tensor:
    """The order's features, first to last, (D,), int64.

    Raises:
        UsageError: it is no permutation.

    >>> order_of("raster", 3), order_of([2, 0, 1], 3), len(set(order_of("random", 9).tolist()))
    (tensor([0, 1, 2]), tensor([2, 0, 1]), 9)
    """
    if order == "raster":
        return torch.arange(num_features)
    if order == "random":
        return torch.randperm(num_features, generator=torch.Generator(device="cpu").manual_seed(seed), device="cpu")
    return checked_order(list(order), num_features)


def orders_of(order: Order, num_features: int, num_orders: int, seed: int = 0) -> Tensor:
    """``order`` and random ones after it, (num_orders, D), int64, by seeds from ``seed`` on.

    Raises:
        UsageError: it is no permutation.
    """
    others = [order_of("random", num_features, seed + number) for number in range(1, num_orders)]
    return torch.stack([order_of(order, num_features, seed), *others])


def ranks(order: Tensor) -> Tensor:
    """As which number each feature is drawn, the order's inverse; (..., D) to (..., D).

    >>> ranks(torch.tensor([2, 0, 1]))
    tensor([1, 2, 0])
    """
    return order.argsort(-1)


def check_binary(who: str, spec: DataSpec) -> None:
    """Refuse what is not binary.

    Raises:
        UsageError: the data are of another kind.
    """
    if spec.observation != "binary":
        raise UsageError(
            f"{who} draws each feature from a Bernoulli and needs binary data, but data {shown(spec.name)} are "
            f"{spec.observation}: binarize them (binarize='threshold'), or take a model of such data."
        )
