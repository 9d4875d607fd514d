"""Several discrete variables at once, of all of whose states the probability is known."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

__all__ = ["JointStates", "numbered"]


class JointStates(TorchDistribution):
    """D variables of L states each, x_d = k / (L - 1), with log-probabilities of all L^D rows of states, (..., L^D).

    >>> joint = JointStates(torch.tensor([0.1, 0.2, 0.3, 0.4]).log(), 2)
    >>> joint.log_prob(torch.tensor([[0.0, 1.0], [1.0, 1.0]])).exp()
    tensor([0.2000, 0.4000])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"log_probs": constraints.real_vector}
    support = constraints.independent(constraints.unit_interval, 1)
    has_rsample = False

    def __init__(self, log_probs: Tensor, num_variables: int, levels: int = 2, *, validate_args: Any = None) -> None:
        self.log_probs, self.levels = log_probs, levels
        super().__init__(log_probs.shape[:-1], torch.Size([num_variables]), validate_args=validate_args)

    @property
    def rows(self) -> Tensor:
        """x of every row of states, (L^D, D)."""
        number = torch.arange(self.log_probs.shape[-1], device=self.log_probs.device)
        places = range(self.event_shape[0] - 1, -1, -1)
        states = torch.stack([number // self.levels**place % self.levels for place in places], -1)
        return states.to(self.log_probs) / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """E[x], (..., D)."""
        mean: Tensor = self.log_probs.exp() @ self.rows
        return mean

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats; ``value`` (..., D)."""
        number = numbered(value, self.levels)
        shape = torch.broadcast_shapes(number.shape, self.log_probs.shape[:-1])
        table = self.log_probs.expand(*shape, -1)
        return table.gather(-1, number.expand(shape).unsqueeze(-1)).squeeze(-1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws, shape ``sample_shape + (..., D)``."""
        return self.rows[dist.Categorical(logits=self.log_probs).sample(torch.Size(sample_shape))]

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> JointStates:
        """The same distribution with its parameters expanded to ``batch_shape``."""
        return JointStates(self.log_probs.expand(*batch_shape, -1), self.event_shape[0], self.levels)


def numbered(x: Tensor, levels: int) -> Tensor:
    """The number of each row of states, the last variable's the fastest: (..., D) to (...,), int64."""
    number = torch.zeros_like(x[..., 0], dtype=torch.int64)
    for states in (x * (levels - 1)).round().long().unbind(-1):
        number = number * levels + states
    return number
