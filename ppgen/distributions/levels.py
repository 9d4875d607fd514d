"""A number on a grid of levels, each with a probability of its own."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ppgen.distributions.discretized_logistic import Grid

__all__ = ["Levels"]


class Levels(TorchDistribution):
    """x = k / (L - 1) with probability softmax(logits)_k, k = 0..L-1; event shape ().

    Args:
        logits: (..., L).

    >>> Levels(torch.tensor([0.0, 0.0, 1.0, 1.0])).log_prob(torch.tensor([0.0, 1.0]))
    tensor([-2.0064, -1.0064])
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 1)}  # noqa: RUF012  # torch's protocol
    has_rsample = False

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The grid k / (L - 1)."""
        return Grid(self.logits.shape[-1])

    @property
    def mean(self) -> Tensor:
        """E[x], the batch shape."""
        levels = torch.linspace(0, 1, self.logits.shape[-1], dtype=self.logits.dtype, device=self.logits.device)
        return self.logits.softmax(-1) @ levels

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of values on the grid, which broadcast with the batch shape; nats."""
        if self._validate_args:
            self._validate_sample(value)
        index = (value * (self.logits.shape[-1] - 1)).round().long().unsqueeze(-1)
        index, log_p = torch.broadcast_tensors(index, self.logits.log_softmax(-1))
        found: Tensor = log_p.gather(-1, index[..., :1]).squeeze(-1)
        return found

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws on the grid, sample_shape + batch shape."""
        shape = self._extended_shape(torch.Size(sample_shape))
        probs = self.logits.softmax(-1).expand(*shape, -1)
        index = torch.multinomial(probs.reshape(-1, probs.shape[-1]), 1).reshape(shape)
        return index.to(probs) / (probs.shape[-1] - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Levels:
        """The same distribution with its logits expanded."""
        return Levels(self.logits.expand(*batch_shape, -1), validate_args=self._validate_args)
