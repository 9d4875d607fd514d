"""Grey levels as cells of the unit interval: which level a number falls into, and where in its cell a level is.

    level k = 0..L-1 of x = k / (L - 1) is the cell [k / L, (k + 1) / L]

A number at a border, up to rounding, is in the cells on both sides: a draw from a cell never falls out of it.

Reference: A note on the evaluation of generative models, Theis, van den Oord and Bethge, 2016, section 3.1.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ppgen.distributions.discretized_logistic import Grid

__all__ = ["Cell", "GreyLevel", "cell_edges"]


def cell_edges(x: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """k / L and (k + 1) / L of grey values x = k / (L - 1), any shape.

    >>> cell_edges(torch.tensor([0.0, 1.0]), 4)
    (tensor([0.0000, 0.7500]), tensor([0.2500, 1.0000]))
    """
    k = (x * (levels - 1)).round()
    return k / levels, (k + 1) / levels


class GreyLevel(TorchDistribution):
    """The level that a number falls into, for certain: x = floor(L y) / (L - 1), in nats 0 there and -inf elsewhere.

    The first level takes all numbers below it and the last all above it, so that one of them has every number.

    Args:
        y: any shape.
        levels: L.

    >>> y = torch.tensor([-0.1, 0.3, 1.0])
    >>> GreyLevel(y, levels=3).sample()
    tensor([0., 0., 1.])
    >>> GreyLevel(y, levels=3).log_prob(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0., -inf, 0.])
    """

    arg_constraints = {}  # noqa: RUF012  # torch's protocol
    has_rsample = False

    def __init__(self, y: Tensor, levels: int, *, validate_args: bool | None = None) -> None:
        self.y, self.levels = y, levels
        super().__init__(y.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The grid k / (L - 1)."""
        return Grid(self.levels)

    @property
    def mean(self) -> Tensor:
        """The level, the shape of y; a step of y has no gradient."""
        return (self.y.detach() * self.levels).floor().clamp(0, self.levels - 1) / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """0 or -inf; ``value`` broadcasts with y."""
        if self._validate_args:
            self._validate_sample(value)
        low, high = cell_edges(value, self.levels)
        below, above = (value <= 0) & (self.y < 0), (value >= 1) & (self.y > 1)
        inside = below | above | _within(self.y, low, high)
        return torch.zeros_like(inside, dtype=self.y.dtype).masked_fill(~inside, -torch.inf)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """The level, ``sample_shape`` times."""
        return self.mean.expand(self._extended_shape(torch.Size(sample_shape)))

    def expand(self, batch_shape: Any, _instance: Any = None) -> GreyLevel:
        """The same with y expanded to ``batch_shape``."""
        return GreyLevel(self.y.expand(batch_shape), self.levels, validate_args=self._validate_args)


class Cell(dist.Uniform):
    """A number anywhere in a cell, log-density log L in nats; its edges, up to rounding, are in it.

    >>> Cell(*cell_edges(torch.tensor(1.0), 4)).log_prob(torch.tensor([0.7, 0.75, 1.0]))
    tensor([  -inf, 1.3863, 1.3863])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """log L or -inf."""
        inside = _within(value, self.low, self.high)
        return -(self.high - self.low).log().masked_fill(~inside, torch.inf)


def _within(y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    rounding = 4 * torch.finfo(y.dtype).eps
    return (y >= low - rounding) & (y <= high + rounding)
