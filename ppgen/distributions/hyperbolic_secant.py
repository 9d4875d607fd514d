"""The hyperbolic secant distribution: a smooth density between the normal's and Laplace's.

    p(s) = 1 / (pi cosh s),        log p(s) = log 2 - log pi - |s| - log(1 + exp(-2 |s|))

Its cumulative distribution is (2 / pi) arctan(exp s), and its score -tanh s, the nonlinearity of many algorithms for
independent components. Mean 0, variance pi^2 / 4.

Infomax and maximum likelihood for blind source separation, Cardoso, 1997.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["HyperbolicSecant"]


class HyperbolicSecant(TorchDistribution):
    """s = loc + scale t, with t as above.

    Args:
        loc: of the batch shape.
        scale: positive.

    >>> HyperbolicSecant(torch.tensor(0.0), torch.tensor(1.0)).log_prob(torch.tensor(0.0))  # -log pi
    tensor(-1.1447)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012  # torch's protocol
    support = constraints.real
    has_rsample = True
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """(pi scale / 2)^2."""
        return (math.pi / 2 * self.scale).square()

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws, of shape ``sample_shape + batch_shape``, with a pathwise gradient."""
        shape = self._extended_shape(torch.Size(sample_shape))
        tiny = torch.finfo(self.loc.dtype).eps
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device).clamp(tiny, 1 - tiny)
        return self.loc + self.scale * torch.tan(math.pi / 2 * u).log()

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats."""
        if self._validate_args:
            self._validate_sample(value)
        away = ((value - self.loc) / self.scale).abs()
        return math.log(2 / math.pi) - away - torch.log1p((-2 * away).exp()) - self.scale.log()

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> HyperbolicSecant:
        """The same distribution with its batch expanded to ``batch_shape``."""
        new: HyperbolicSecant = self._get_checked_instance(HyperbolicSecant, _instance)  # type: ignore[no-untyped-call]
        new.loc, new.scale = self.loc.expand(torch.Size(batch_shape)), self.scale.expand(torch.Size(batch_shape))
        super(HyperbolicSecant, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new
