"""Bernoulli variables that are known by their rate."""

from __future__ import annotations

import pyro.distributions as dist
from torch.distributions import constraints

__all__ = ["BernoulliRates"]


class BernoulliRates(dist.Bernoulli):  # type: ignore[misc]  # pyro makes it at import
    """Bits b ~ Bernoulli(sigmoid(logits)), of which a rate x in [0, 1] is seen, such as a grey level.

    The log-probability of x is the mean of that of bits with the rate x, minus their cross-entropy::

        log p(x) = E[log p(b)], b ~ Bernoulli(x)    = x log sigmoid(logits) + (1 - x) log sigmoid(-logits)

    in nats; of 0 and 1 it is Bernoulli's. It is no density of x. A sample is a bit.

    >>> import torch
    >>> BernoulliRates(logits=torch.tensor(2.0)).log_prob(torch.tensor([0.0, 0.25, 1.0]))
    tensor([-2.1269, -1.6269, -0.1269])
    """

    support = constraints.unit_interval
    has_enumerate_support = False
