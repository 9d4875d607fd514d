"""A mixture of autoregressive distributions of the same features, each in an order of its own.

    p(x) = (1 / M) sum_m p_m(x)

so that log p(x) is the log of the mean of probabilities, exact in M passes, and at least the mean of the logs.

Deep Autoregressive Networks' and NADE's ensembles: Uria, Murray and Larochelle, A Deep and Tractable Density Estimator,
2014, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ppgen.distributions.autoregressive import Autoregressive, Conditionals

__all__ = ["OverOrders", "over_orders"]


class OverOrders(TorchDistribution):
    """Features drawn in one of M orders, each as likely; event shape (D,). See the module's docstring.

    Args:
        members: the conditionals of each order.
        batch_shape: as of :class:`ppgen.distributions.autoregressive.Autoregressive`.
    """

    arg_constraints = {}  # noqa: RUF012  # torch's protocol
    has_rsample = False

    def __init__(
        self, members: Sequence[Conditionals], batch_shape: Any = (), validate_args: bool | None = None
    ) -> None:
        self.members = [Autoregressive(one, batch_shape, validate_args=validate_args) for one in members]
        first = self.members[0]
        super().__init__(first.batch_shape, first.event_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=None, event_dim=1)
    def support(self) -> Any:
        """That of the members."""
        return self.members[0].support

    def expand(self, batch_shape: Any, _instance: Any = None) -> OverOrders:
        """As any distribution."""
        return OverOrders([one.conditionals for one in self.members], batch_shape, validate_args=self._validate_args)

    def log_probs(self, value: Tensor) -> Tensor:
        """log p_m(x), (..., D) -> (M, ...), in nats."""
        return torch.stack([one.log_prob(value) for one in self.members])

    def log_prob(self, value: Tensor) -> Tensor:
        """(..., D) -> (...,), in nats."""
        return self.log_probs(value).logsumexp(0) - math.log(len(self.members))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, sample_shape + (..., D), each in an order drawn for it."""
        shape = self._extended_shape(torch.Size(sample_shape))
        number = torch.randint(len(self.members), shape[:-1])
        drawn = [one.conditionals.drawn(torch.Size([int((number == m).sum())])) for m, one in enumerate(self.members)]
        x = torch.empty(shape, dtype=drawn[0].dtype, device=drawn[0].device)
        for m, values in enumerate(drawn):
            x[number == m] = values
        return x


def over_orders(members: Sequence[Conditionals]) -> Autoregressive | OverOrders:
    """The mixture of the members, or the only one of them."""
    return OverOrders(members) if len(members) > 1 else Autoregressive(members[0])
