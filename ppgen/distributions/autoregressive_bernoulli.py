"""A layer of units, each of which sees those before it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = ["AutoregressiveBernoulli"]


class AutoregressiveBernoulli(TorchDistribution):
    """Binary units drawn in blocks, each given those before it; event shape (U,). See the module's docstring.

    Args:
        logits: a, (..., U).
        weight: R, (U, U); what it has of a unit's own block and of later ones is not read.
        num_blocks: G.

    >>> weight = torch.tensor([[0.0, 0.0], [9.0, 0.0]])  # the second unit follows the first
    >>> units = AutoregressiveBernoulli(torch.zeros(2), weight, num_blocks=2)
    >>> units.log_prob(torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    tensor([-0.6933, -9.6933])
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012  # torch's protocol
    support = constraints.independent(constraints.boolean, 1)
    has_rsample = False

    def __init__(self, logits: Tensor, weight: Tensor, num_blocks: int, *, validate_args: bool | None = None) -> None:
        self.logits, self.weight, self.num_blocks = logits, weight, num_blocks
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @property
    def masked_weight(self) -> Tensor:
        """R with zeros from each unit's own block on, (U, U)."""
        size = self.event_shape[0]
        block = torch.arange(size, device=self.weight.device) * self.num_blocks // size  # (U,)
        return self.weight * (block[:, None] > block)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of states (..., U), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        logits = self.logits + (2 * value - 1) @ self.masked_weight.T
        return -binary_cross_entropy_with_logits(logits, value.expand(logits.shape), reduction="none").sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """States, shape ``sample_shape + (..., U)``, block by block."""
        logits = self.logits.expand(self._extended_shape(torch.Size(sample_shape)))
        size, weight = self.event_shape[0], self.masked_weight
        edges = [-(-g * size // self.num_blocks) for g in range(self.num_blocks + 1)]
        z = logits[..., :0]
        for start, end in pairwise(edges):
            own = logits[..., start:end] + (2 * z - 1) @ weight[start:end, :start].T  # (..., end - start)
            z = torch.cat([z, torch.bernoulli(own.sigmoid())], -1)
        return z

    def expand(
        self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> AutoregressiveBernoulli:
        """The same distribution with its logits expanded to ``batch_shape``."""
        new: AutoregressiveBernoulli = self._get_checked_instance(AutoregressiveBernoulli, _instance)  # type: ignore[no-untyped-call]
        batch_shape = torch.Size(batch_shape)
        new.logits, new.weight = self.logits.expand(batch_shape + self.event_shape), self.weight
        new.num_blocks = self.num_blocks
        super(AutoregressiveBernoulli, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new
