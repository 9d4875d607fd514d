"""Data of which the first part is given and the rest is modelled: what a conditional pair observes and draws."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["Completion"]


class Completion(TorchDistribution):
    """x = (given, rest): a distribution over the rest, whose draws are whole data.

        log p(x) = log p(rest),        x of shape (..., G + R),        draws begin with ``given``

    It is the density of the rest given the first part: values are taken to begin with what was given.

    Args:
        given: (..., G).
        rest: a distribution of event shape (R,), and of a batch shape that broadcasts with (...,).

    >>> import pyro.distributions as dist
    >>> whole = Completion(torch.tensor([7.0]), dist.Normal(torch.zeros(2), 1.0).to_event(1))
    >>> whole.mean, whole.log_prob(torch.tensor([7.0, 0.0, 0.0]))  # of the last two: -log 2 pi
    (tensor([7., 0., 0.]), tensor(-1.8379))
    """

    arg_constraints = {"given": constraints.real_vector}  # noqa: RUF012  # torch's protocol

    def __init__(self, given: Tensor, rest: Any, *, validate_args: bool | None = None) -> None:
        shape = torch.broadcast_shapes(given.shape[:-1], rest.batch_shape)
        self.given, self.rest = given.expand(*shape, -1), rest.expand(shape)
        event = torch.Size([given.shape[-1] + rest.event_shape[0]])
        super().__init__(shape, event, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]  # depends on the rest
        """That of the rest."""
        return bool(self.rest.has_rsample)

    @constraints.dependent_property(event_dim=1)
    def support(self) -> constraints.Constraint:
        """That of the rest, for all numbers."""
        support: constraints.Constraint = self.rest.support
        return support

    @property
    def mean(self) -> Tensor:
        """(given, E[rest]), (..., G + R)."""
        return self._whole(self.rest.mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(rest), (...,), in nats."""
        log_prob: Tensor = self.rest.log_prob(value[..., self.given.shape[-1] :])
        return log_prob

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Whole data, shape ``sample_shape + (..., G + R)``."""
        return self._whole(self.rest.rsample(torch.Size(sample_shape)))

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Whole data, shape ``sample_shape + (..., G + R)``."""
        return self._whole(self.rest.sample(torch.Size(sample_shape)))

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> Completion:
        """The same distribution with both parts expanded to ``batch_shape``."""
        new: Completion = self._get_checked_instance(Completion, _instance)  # type: ignore[no-untyped-call]
        batch_shape = torch.Size(batch_shape)
        new.given, new.rest = self.given.expand(*batch_shape, -1), self.rest.expand(batch_shape)
        super(Completion, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _whole(self, rest: Tensor) -> Tensor:
        return torch.cat([self.given.expand(*rest.shape[:-1], -1), rest], -1)
