"""Autoregressive models of pictures: a raster network's numbers to the law of each pixel, and draws without repetition.

Reference: Pixel Recurrent Neural Networks, van den Oord, Kalchbrenner and Kavukcuoglu, 2016 (Bernoulli, softmax);
PixelCNN++, Salimans, Karpathy, Chen and Kingma, 2017 (mixtures of discretized logistics).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

import pyro.distributions as dist
import torch
from annotated_types import Ge, Predicate
from torch import Tensor, nn
from torch.distributions import constraints

from ppgen.arguments import Words, at_least
from ppgen.data.spec import DataSpec
from ppgen.distributions.autoregressive import Conditionals
from ppgen.distributions.discretized_logistic import DiscretizedLogistic, Grid
from ppgen.distributions.levels import Levels
from ppgen.distributions.turns import in_turn
from ppgen.errors import UsageError, shown
from ppgen.layers.raster import RasterNetwork

__all__ = ["LevelKind", "PixelConditionals", "PixelLaw", "Side", "pixel_conditionals"]

LevelKind: TypeAlias = Literal["softmax", "logistics"]

Side: TypeAlias = Annotated[int, Ge(3), Predicate(lambda side: side % 2 == 1), Words("an odd whole number from 3 on")]
"""Of a kernel, which has a middle."""

_TOGETHER = 128
"""Pictures that are drawn at a time: their maps are in memory."""

_LEAST_LOG_SCALE = -7.0
"""Of a logistic: a hundredth of a step of 256 levels or so, below which it is on one level whatever its scale."""


class PixelLaw(ABC):
    """Numbers of each pixel, (..., D, P), to its law.

    Attributes:
        num_outputs: P.
        support: of a pixel.

    To add one: 1. subclass, 2. write ``__call__`` and ``start``, 3. let :func:`pixel_conditionals` choose it.
    """

    num_outputs: int
    support: Any

    @abstractmethod
    def __call__(self, outputs: Tensor) -> Any:
        """A distribution of batch shape (..., D) and event shape ()."""

    @abstractmethod
    def start(self, mean: Tensor) -> Tensor:
        """Numbers (D, P) at which training starts well, of data of that mean, (D,)."""


class _Bernoulli(PixelLaw):
    num_outputs, support = 1, constraints.boolean

    def __call__(self, outputs: Tensor) -> Any:
        return dist.Bernoulli(logits=outputs.squeeze(-1))

    def start(self, mean: Tensor) -> Tensor:
        return mean.clamp(0.001, 0.999).logit().unsqueeze(-1)


class _Softmax(PixelLaw):
    def __init__(self, levels: int) -> None:
        self.num_outputs, self.support = levels, Grid(levels)

    def __call__(self, outputs: Tensor) -> Any:
        return Levels(outputs)

    def start(self, mean: Tensor) -> Tensor:
        return mean.new_zeros(1, 1)


class _Logistics(PixelLaw):
    """A mixture of discretized logistics: outputs are logits, locations and log-scales."""

    def __init__(self, levels: int, num_components: int) -> None:
        self.levels, self.num_components = levels, num_components
        self.num_outputs, self.support = 3 * num_components, Grid(levels)

    def __call__(self, outputs: Tensor) -> Any:
        logits, loc, log_scale = outputs.chunk(3, -1)  # (..., D, M)
        each = DiscretizedLogistic(loc, log_scale.clamp_min(_LEAST_LOG_SCALE), self.levels)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), each)

    def start(self, mean: Tensor) -> Tensor:
        apart = torch.linspace(-0.5, 0.5, self.num_components + 2, dtype=mean.dtype)[1:-1]
        loc = mean[:, None] + apart  # (D, M)
        return torch.cat([torch.zeros_like(loc), loc, torch.full_like(loc, -2.0)], -1)


class PixelConditionals(Conditionals):
    """p(pixel | those before it in raster order), the colours of a pixel in turn; see :class:`Conditionals`.

    Args:
        network: P numbers for each colour of each pixel.
        law: what they say of it.
        shape: (C, H, W).
        mean: (D,), of the training data, at which training starts; None: it is not known.
    """

    def __init__(self, network: RasterNetwork, law: PixelLaw, shape: tuple[int, int, int], mean: Tensor | None) -> None:
        colours, height, width = shape
        size = height * width
        super().__init__(torch.arange(colours * size).reshape(colours, size).T.reshape(-1))
        self.network, self.law, self.shape, self.support = network, law, shape, law.support
        self.bias = nn.Parameter(law.start(torch.full((len(self.order),), 0.5) if mean is None else mean))  # (D, P)

    def forward(self, x: Tensor) -> Any:
        return self.law(self.numbers(x))

    def numbers(self, x: Tensor) -> Tensor:
        """What the law of each feature is made of, (..., D) to (..., D, P)."""
        outputs = self.network(self._pictures(x)).unflatten(1, (self.shape[0], -1))  # (N, C, P, H, W)
        numbers: Tensor = outputs.movedim(2, -1).reshape(*x.shape, -1) + self.bias
        return numbers

    def complete(self, x: Tensor, num_given: int = 0) -> Tensor:
        parts = x.reshape(-1, x.shape[-1]).split(_TOGETHER)
        return torch.cat([self._completed(part, num_given) for part in parts]).reshape(x.shape)

    @torch.no_grad()
    def _completed(self, x: Tensor, num_given: int) -> Tensor:
        """(N, D), each place of each map computed once."""
        x, (colours, height, width) = x.clone(), self.shape
        x[:, self.order[num_given:]] = 0
        memory = self.network.everywhere(self._pictures(x))[1]
        for number in in_turn(range(num_given // colours, height * width), "pixels"):
            row, column = divmod(number, width)
            if column == 0:
                self.network.begin_row(memory, row)
            for colour in range(colours):
                if number * colours + colour < num_given:
                    continue
                feature = colour * height * width + number
                outputs = self.network.at(memory, row, column).unflatten(1, (colours, -1))[:, colour]  # (N, P)
                x[:, feature] = self.law((outputs + self.bias[feature % len(self.bias)]).unsqueeze(-2)).sample()[:, 0]
                self.network.see(memory, row, column, self._pictures(x)[:, :, row, column])
        return x

    def _pictures(self, x: Tensor) -> Tensor:
        """(..., D) to (N, C, H, W), in [-1, 1]."""
        return 2 * x.reshape(-1, *self.shape) - 1


def pixel_conditionals(
    spec: DataSpec,
    network: Callable[[int, int], RasterNetwork],
    num_filters: int,
    levels: LevelKind,
    num_components: int,
) -> PixelConditionals:
    """Conditionals of such pictures.

    Args:
        spec: what one datum is.
        network: makes the network of so many colours and outputs.
        num_filters: of its layers.
        levels: the law of a grey level.
        num_components: of a mixture of logistics.

    Raises:
        UsageError: the data are no pictures, or neither binary nor of grey levels; there are fewer filters than
            colours.
    """
    shape, law = _colours_and_sides(spec), _law(spec, levels, num_components)
    at_least(f"num_filters for pictures of {shape[0]} colours", num_filters, shape[0])
    return PixelConditionals(network(shape[0], shape[0] * law.num_outputs), law, shape, spec.mean)


def _law(spec: DataSpec, levels: LevelKind, num_components: int) -> PixelLaw:
    if spec.observation == "binary":
        return _Bernoulli()
    if spec.observation != "quantised" or spec.levels is None:
        raise UsageError(
            f"pixels are drawn one by one of binary pictures or of grey levels, and data {shown(spec.name)} are "
            f"{spec.observation}: load them as they were counted (dequantize=False), or choose a model of real data."
        )
    return _Softmax(spec.levels) if levels == "softmax" else _Logistics(spec.levels, num_components)


def _colours_and_sides(spec: DataSpec) -> tuple[int, int, int]:
    if spec.image_shape is None:
        raise UsageError(
            f"this model is of pictures, and data {shown(spec.name)} have no image shape: give image_shape=(H, W) with "
            "the data, or choose a model of vectors."
        )
    colours, height, width = (1, *spec.image_shape)[-3:]
    return colours, height, width
