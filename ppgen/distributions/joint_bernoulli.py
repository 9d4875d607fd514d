"""Bits that are not independent: one probability for each of their states."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

__all__ = ["JointBernoulli"]


class JointBernoulli(TorchDistribution):
    """H bits with p(h) = softmax(logits)[number of h], the number being sum_j h_j 2^j.

    Args:
        logits: (..., 2^H), finite.

    >>> h = JointBernoulli(torch.tensor([0.0, 0.0, 0.0, 100.0])).sample()  # the state with number 3
    >>> h
    tensor([1., 1.])
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 - torch's own form
    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        bits = int(logits.shape[-1]).bit_length() - 1
        super().__init__(logits.shape[:-1], torch.Size((bits,)), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> JointBernoulli:
        """As any distribution."""
        return JointBernoulli(self.logits.expand(*batch_shape, self.logits.shape[-1]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """p(h_j = 1), (..., H)."""
        return self.logits.softmax(-1) @ self._states()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, sample_shape + (..., H)."""
        with torch.no_grad():
            below = self.logits.softmax(-1).cumsum(-1)[..., :-1].expand(*sample_shape, *self.batch_shape, -1)
            number = (torch.rand_like(below[..., :1]) >= below).sum(-1, keepdim=True)
            return (torch.bitwise_right_shift(number, self._places()) & 1).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """(..., H) -> (...,), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        number = torch.bitwise_left_shift(value.long(), self._places()).sum(-1, keepdim=True)
        shape = torch.broadcast_shapes(number.shape[:-1], self.logits.shape[:-1])
        log_p = self.logits.log_softmax(-1).expand(*shape, -1)
        return log_p.gather(-1, number.expand(*shape, 1)).squeeze(-1)

    def _places(self) -> Tensor:
        return torch.arange(self.event_shape[0], device=self.logits.device)

    def _states(self) -> Tensor:
        numbers = torch.arange(self.logits.shape[-1], device=self.logits.device)[:, None]
        return (torch.bitwise_right_shift(numbers, self._places()) & 1).to(self.logits.dtype)
