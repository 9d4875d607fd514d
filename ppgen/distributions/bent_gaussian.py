"""A standard Gaussian bent by an invertible network, which is scored and drawn in one pass.

    x = f^-1(z),  z ~ N(0, I):        log p(x) = log N(f(x); 0, I) + log |det df/dx|        (nats)

``torch.distributions.TransformedDistribution`` asks a transform for its value and then again for its Jacobian: without
a memory every network would run twice. Here f gives both at once, and nothing is remembered.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Protocol

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["BentGaussian", "Invertible"]


class Invertible(Protocol):
    """What maps rows, (N, D), to noise."""

    def __call__(self, x: Tensor, /) -> tuple[Tensor, Tensor]:
        """f(x), (N, D), and log |det df/dx|, (N,)."""

    def inverse(self, noise: Tensor) -> Tensor:
        """f^-1, (N, D) to (N, D)."""


class BentGaussian(TorchDistribution):
    """p(x) of event shape (D,).

    Args:
        network: f.
        like: any tensor of D numbers, whose type and device draws have, (D,).
        batch_shape: of independent copies.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, network: Invertible, like: Tensor, batch_shape: Any = (), *, validate_args: Any = None) -> None:
        self.network, self.like = network, like
        super().__init__(torch.Size(batch_shape), like.shape, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats: (..., D) to (...), broadcast with the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        noise, log_det = self.network(value.reshape(-1, value.shape[-1]))
        log_prob = log_det - (noise.square().sum(1) + noise.shape[1] * math.log(2 * math.pi)) / 2
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return log_prob.view(value.shape[:-1]).expand(shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Differentiable draws, (*sample_shape, *batch_shape, D)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.like.dtype, device=self.like.device)
        return self.network.inverse(noise.reshape(-1, shape[-1])).view(shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> BentGaussian:
        """The same with ``batch_shape``."""
        return BentGaussian(self.network, self.like, batch_shape, validate_args=self._validate_args)
