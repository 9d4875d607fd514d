"""Corruptions of data, as distributions of what is left of x: c(x~ | x), one number independent of another.

    "masking"           x~_d = 0 with probability n, else x_d
    "salt_and_pepper"   x~_d = 0 or 1, with probability n / 2 each, else x_d
    "gaussian"          x~_d ~ N(x_d, n^2)

Reference: Stacked Denoising Autoencoders, Vincent, Larochelle, Lajoie, Bengio and Manzagol, 2010, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["Corruption", "Replaced", "corruption_of"]

Corruption = Literal["masking", "salt_and_pepper", "gaussian"]

_VALUES: dict[str, tuple[float, ...]] = {"masking": (0.0,), "salt_and_pepper": (0.0, 1.0)}


class Replaced(TorchDistribution):
    """x, each number replaced with probability ``level`` by one of ``values``, which are equally likely.

        p(v) = (1 - level) [v = x] + sum_j level / J [v = values_j]            (log_prob: its logarithm, in nats)

    What is replaced does not depend on x, so that a draw has a gradient in x: that of what was kept.

    >>> Replaced(torch.tensor([0.5, 0.0]), 0.2, (0.0, 1.0)).log_prob(torch.tensor([0.5, 0.0])).exp()
    tensor([0.8000, 0.9000])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real
    has_rsample = True

    def __init__(self, x: Tensor, level: float, values: Sequence[float]) -> None:
        self.x, self.level, self.values = x, level, tuple(values)
        super().__init__(x.shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Replaced:
        return Replaced(self.x.expand(batch_shape), self.level, self.values)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        u = torch.rand(shape, dtype=self.x.dtype, device=self.x.device)
        v, share = self.x.expand(shape), self.level / len(self.values)
        for number, value in enumerate(self.values):  # u in [number, number + 1) shares
            v = torch.where((u >= number * share) & (u < (number + 1) * share), torch.full_like(v, value), v)
        return v

    def log_prob(self, value: Tensor) -> Tensor:
        found = (1 - self.level) * (value == self.x).to(self.x.dtype)
        for each in self.values:
            found = found + self.level / len(self.values) * (value == each).to(self.x.dtype)
        return found.log()

    @property
    def mean(self) -> Tensor:
        return (1 - self.level) * self.x + self.level * sum(self.values) / len(self.values)


def corruption_of(x: Tensor, kind: Corruption, level: float) -> Any:
    """c(x~ | x), of event shape (D,); ``level`` is n, positive, below 1 but of ``"gaussian"``.

    >>> corruption_of(torch.ones(5, 3), "masking", 0.25).mean[0]
    tensor([0.7500, 0.7500, 0.7500])
    """
    if kind == "gaussian":
        return dist.Normal(x, level).to_event(1)
    replaced: Any = Replaced(x, level, _VALUES[kind])
    return replaced.to_event(1)
