"""A point mass that knows its point up to rounding."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.utils import broadcast_all

__all__ = ["RoundedPoint"]


class RoundedPoint(dist.Delta):
    """A point v whose log-probability is 0 at v up to rounding, and minus infinity elsewhere.

    A network gives a datum's code another last bit in a batch of another size, or on another processor. A guide that
    is asked again for the probability of the code that it gave would find none there under ``Delta``. What differs
    from v by less than the square root of the type's precision, relative to 1 + |v|, is v.

    >>> point = RoundedPoint(torch.tensor([0.1, 3.0]), event_dim=1)
    >>> point.log_prob(torch.tensor([0.1, 3.0 + 1e-6])), point.log_prob(torch.tensor([0.1, 3.01]))
    (tensor(0.), tensor(-inf))
    """

    def log_prob(self, x: Tensor) -> Tensor:
        v, x = broadcast_all(self.v, x)
        near = (x - v).abs() <= torch.finfo(v.dtype).eps ** 0.5 * (1 + v.abs())
        log_prob = torch.zeros_like(v).masked_fill(~near, -torch.inf)
        return log_prob.sum(list(range(-self.event_dim, 0))) if self.event_dim else log_prob
