"""The label of a datum, which may be unknown."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

__all__ = ["UNKNOWN_LABEL", "PossiblyKnown"]

UNKNOWN_LABEL = -1
"""The label of a datum whose label is not known."""


class PossiblyKnown(dist.Categorical):
    """The index of a class; or -1 where it is not known, which has the log-probability 0.

    >>> import torch
    >>> PossiblyKnown(torch.tensor([0.25, 0.75])).log_prob(torch.tensor([1, -1])).exp()
    tensor([0.7500, 1.0000])
    """

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """-1, 0, ..., C-1."""
        return constraints.integer_interval(UNKNOWN_LABEL, self._num_events - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats."""
        log_prob: Tensor = super().log_prob(value.clamp_min(0))  # type: ignore[no-untyped-call]
        return log_prob.where(value != UNKNOWN_LABEL, 0.0)
