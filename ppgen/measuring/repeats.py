"""Draws of a gradient gathered into repeats, of which means, squares and inner products are kept, and no draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Protocol

import torch
from torch import Tensor

from ppgen.measuring.statistics import Moments, Reference

__all__ = ["Draw", "Products", "Repeats", "Source", "affordable_repeats", "gather", "reference_of"]

_BYTES = 2**28
"""Memory for the means of one objective's repeats."""

_FEWEST = 16

Products = Mapping[str, tuple[Tensor, Tensor]]
"""Of each parameter's part: the inner products among a reference's repeats, and of an estimator's with these."""


@dataclass(frozen=True)
class Draw:
    """One gradient by every trainable parameter of the pair, by name, the bound per datum in nats, and its seconds."""

    gradients: Mapping[str, Tensor]
    bound: float
    seconds: float


class Source(Protocol):
    """Where draws come from, one after another."""

    def draw(self) -> Draw: ...


@dataclass(frozen=True)
class Repeats:
    """R repeats of m draws.

    ``means``: the mean gradient of each, by parameter, (R, numel), float64; ``squares``: the mean of |g|^2, by
    parameter, (R,); ``bounds``: the mean bound per datum in nats, (R,); ``seconds``: the median of a draw, (R,);
    ``size``: m. An exact gradient is one repeat.
    """

    means: Mapping[str, Tensor]
    squares: Mapping[str, Tensor]
    bounds: Tensor
    seconds: Tensor
    size: int

    @cached_property
    def grams(self) -> dict[str, Tensor]:
        """<m_r, m_s> of each parameter's part, (R, R)."""
        return {name: (mean @ mean.T).cpu() for name, mean in self.means.items()}

    def moments(self, names: Sequence[str]) -> Moments:
        """Those of a block of parameters."""
        return Moments(_sum(self.grams[name] for name in names), _sum(self.squares[name] for name in names), self.size)

    def against(self, other: Repeats) -> Products:
        """The inner products by which bias from ``other`` is measured."""
        return {name: (other.grams[name], (mean @ other.means[name].T).cpu()) for name, mean in self.means.items()}


def gather(source: Source, repeats: int, size: int, progress: Callable[[int], None] = lambda draws: None) -> Repeats:
    """Draw ``repeats`` times ``size`` gradients.

    Args:
        source: of the draws.
        repeats: R.
        size: m.
        progress: called after each repeat with its number of draws.
    """
    means: dict[str, list[Tensor]] = {}
    squares: dict[str, list[float]] = {}
    bounds, seconds = [], []
    for _ in range(repeats):
        draws = _Sums()
        for _ in range(size):
            draws.add(source.draw())
        for name, total in draws.gradients.items():
            means.setdefault(name, []).append(total / size)
            squares.setdefault(name, []).append(draws.squares[name] / size)
        bounds.append(sum(draws.bounds) / size)
        seconds.append(median(draws.seconds))
        progress(size)
    return Repeats(
        {name: torch.stack(rows) for name, rows in means.items()},
        {name: torch.tensor(values, dtype=torch.float64) for name, values in squares.items()},
        torch.tensor(bounds, dtype=torch.float64),
        torch.tensor(seconds, dtype=torch.float64),
        size,
    )


def reference_of(products: Products, names: Sequence[str], rounding: float) -> Reference:
    """What the bias of a block is measured from."""
    return Reference(_sum(products[name][0] for name in names), _sum(products[name][1] for name in names), rounding)


def affordable_repeats(asked: int, draws: int, num_parameters: int) -> int:
    """As many repeats as were asked for, as the draws make up two at a time, and as memory holds the means of."""
    return max(min(_FEWEST, asked), min(asked, draws // 2, _BYTES // (8 * num_parameters)))


class _Sums:
    """What adds up within a repeat, in float64."""

    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}
        self.squares: dict[str, float] = {}
        self.bounds: list[float] = []
        self.seconds: list[float] = []

    def add(self, draw: Draw) -> None:
        """One draw more."""
        for name, gradient in draw.gradients.items():
            exact = gradient.detach().flatten().double()
            self.gradients[name] = self.gradients[name].add_(exact) if name in self.gradients else exact.clone()
            self.squares[name] = self.squares.get(name, 0.0) + float(exact @ exact)
        self.bounds.append(draw.bound)
        self.seconds.append(draw.seconds)


def _sum(tensors: Iterable[Tensor]) -> Tensor:
    first, *others = tensors
    return sum(others, first)
