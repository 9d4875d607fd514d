"""The Poisson distribution's log-probability of amounts that need not be whole."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

__all__ = ["PoissonRates"]


class PoissonRates(dist.Poisson):
    """x log r - r - log Gamma(x + 1) of any x >= 0; of whole numbers it is Poisson's. It is no density of x.

    Minus it is the generalised Kullback-Leibler divergence of x from its rate r, up to what x alone decides. A sample
    is a whole number.

    >>> import torch
    >>> PoissonRates(torch.tensor(2.0)).log_prob(torch.tensor([1.0, 1.5]))  # log 2 - 2
    tensor([-1.3069, -1.2450])
    """

    support = constraints.nonnegative  # type: ignore[assignment]  # more than whole numbers

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return value.xlogy(rate) - rate - (value + 1).lgamma()
