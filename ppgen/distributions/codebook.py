"""One of finitely many vectors, all alike."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["UniformCodes"]


class _OneOf(constraints.Constraint):
    """The rows of ``codes``, as far as their type can tell."""

    is_discrete = True
    event_dim = 1

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return _equal(value, self.codes).any(-1)


class UniformCodes(TorchDistribution):
    """A row of a table ``codes`` (C, D), each with probability 1 / C; the event is the row, (D,).

    A probability, not a density: log p = -log C at a row (log n - log C at n rows that are equal), in nats, and minus
    infinity elsewhere. What differs from a row by less than the square root of the type's precision, relative to
    1 + |row|, is that row.

    >>> codes = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    >>> UniformCodes(codes, validate_args=False).log_prob(torch.tensor([[2.0, 3.0], [2.0, 1.0]]))
    tensor([-0.6931,    -inf])
    """

    arg_constraints = {"codes": constraints.independent(constraints.real, 2)}  # noqa: RUF012  # torch's protocol
    has_rsample = False

    def __init__(self, codes: Tensor, *, validate_args: bool | None = None) -> None:
        self.codes = codes
        super().__init__(torch.Size(), codes.shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """The rows."""
        return _OneOf(self.codes)

    @property
    def mean(self) -> Tensor:
        """The mean row, of the distribution's shape."""
        return self.codes.mean(0).expand(self.batch_shape + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of vectors (..., D), (...), nats."""
        if self._validate_args:
            self._validate_sample(value)
        found = _equal(value, self.codes).sum(-1).to(value.dtype).log() - math.log(len(self.codes))
        return found.expand(torch.broadcast_shapes(found.shape, self.batch_shape))

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Rows at random, shape ``sample_shape + batch_shape + (D,)``."""
        shape = self._extended_shape(torch.Size(sample_shape))[:-1]
        with torch.no_grad():
            return self.codes[torch.randint(len(self.codes), shape, device=self.codes.device)]

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> UniformCodes:
        """The same distribution of that batch shape."""
        new: UniformCodes = self._get_checked_instance(UniformCodes, _instance)  # type: ignore[no-untyped-call]
        new.codes = self.codes
        super(UniformCodes, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


def _equal(value: Tensor, codes: Tensor) -> Tensor:
    """Whether vectors (..., D) are rows, (..., C)."""
    near = (value.unsqueeze(-2) - codes).abs() <= torch.finfo(codes.dtype).eps ** 0.5 * (1 + codes.abs())
    found: Tensor = near.all(-1)
    return found
