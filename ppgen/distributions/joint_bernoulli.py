"""Bits that are not independent: one probability for each of their states."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Categorical, TorchDistribution, constraints
from torch import Tensor

from ppgen.distributions.binary_states import binary_states

__all__ = ["JointBernoulli"]


class JointBernoulli(TorchDistribution):
    """H bits with p(h) = softmax(logits)[number of h], the number being sum_j h_j 2^j.

    Args:
        logits: (..., 2^H), finite; H at most 14.

    >>> h = JointBernoulli(torch.tensor([0.0, 0.0, 0.0, 100.0])).sample()  # the state with number 3
    >>> h
    tensor([1., 1.])
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 - torch's own form
    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits, self._number = logits, Categorical(logits=logits, validate_args=False)
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
            return self._states()[self._number.sample(torch.Size(sample_shape))]

    def log_prob(self, value: Tensor) -> Tensor:
        """(..., H) -> (...,), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        places = torch.arange(self.event_shape[0], device=value.device)
        log_p: Tensor = self._number.log_prob(torch.bitwise_left_shift(value.long(), places).sum(-1))
        return log_p

    def _states(self) -> Tensor:
        """All states by their numbers, (2^H, H)."""
        (states,) = binary_states(self.event_shape[0], self.logits)
        return states
