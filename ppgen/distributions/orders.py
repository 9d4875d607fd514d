"""A mixture of autoregressive distributions of the same features, each in an order of its own.

    p(x) = (1 / M) sum_m p_m(x)

so that log p(x) is the log of the mean of probabilities, exact in M passes, and at least the mean of the logs: that is
what a network for all D! orders is trained by, one step of one order for each datum,

    (1 / D!) sum_o log p(x | o) = E_{o, d}[ D / (D - d) sum_{t > d} log p(x_{o_t} | x_{o_1}, ..., x_{o_d}) ]

with o a uniform order and d = 0..D-1 uniform: given the first d, every one left is as likely to be the next.

What is known of x, x_K, is completed in an order that is drawn given it,

    p(x_U | x_K) = sum_m p(m | x_K) p_m(x_U | x_K),        p(m | x_K) = p_m(x_K) / sum_l p_l(x_K)

where K stands first in every order: p_m(x_K) is then the product of its laws. Elsewhere it is a sum over all x_U, and
completion is refused, also where K stands first in some of the orders, which alone are not the model.

A Deep and Tractable Density Estimator. Benigno Uria, Iain Murray and Hugo Larochelle, 2014, eq. 7 and section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ppgen.distributions.autoregressive import Autoregressive, Conditionals, check_known_first

__all__ = ["OneStep", "OverOrders", "known_at_random", "over_orders"]


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
        device = self.members[0].conditionals.order.device
        number = torch.randint(len(self.members), shape[:-1], device=device)
        drawn = [one.conditionals.drawn(torch.Size([int((number == m).sum())])) for m, one in enumerate(self.members)]
        return _joined(drawn, number)

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor) -> Tensor:
        """Draws of the other features given those that are known, (..., D), each in an order drawn given these.

        Args:
            x: (..., D); what is not known is not read.
            known: (D,), bool.

        Raises:
            UsageError: a known feature stands behind an unknown one in one of the orders.
        """
        check_known_first(self, known)
        given = torch.where(known, x, 0)
        number = torch.distributions.Categorical(logits=self.log_known(given, known).movedim(0, -1)).sample()
        drawn = [one.complete(given[number == m], known) for m, one in enumerate(self.members)]
        return _joined(drawn, number)

    def completes(self, known: Tensor) -> bool:
        """Whether what is known, (D,), stands first in each of the orders."""
        return all(one.completes(known) for one in self.members)

    def log_known(self, x: Tensor, known: Tensor) -> Tensor:
        """log p_m(x_K) of what is known and stands first in each order, (..., D) and (D,) -> (M, ...), in nats."""
        return torch.stack([one.conditionals(x).log_prob(x)[..., known].sum(-1) for one in self.members])


def _joined(drawn: Sequence[Tensor], number: Tensor) -> Tensor:
    """Rows of each member, (N_m, D), where its number stands, (...,): (..., D)."""
    x = drawn[0].new_empty(*number.shape, drawn[0].shape[-1])
    for m, values in enumerate(drawn):
        x[number == m] = values
    return x


class OneStep(Autoregressive):
    """What is scored by one step of an order of its own for each datum; drawn as its conditionals are.

    Args:
        conditionals: those of draws.
        given: the laws, batch shape (..., D), of all features given those that are known, ``given(x, known)``.
        known: which are, (..., D), the first d of a random order (:func:`known_at_random`).
    """

    def __init__(
        self,
        conditionals: Conditionals,
        given: Callable[[Tensor, Tensor], Any],
        known: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(conditionals, known.shape[:-1], validate_args=validate_args)
        self.given, self.known = given, known

    def expand(self, batch_shape: Any, _instance: Any = None) -> OneStep:
        """As any distribution."""
        known = self.known.expand(*batch_shape, -1)
        return OneStep(self.conditionals, self.given, known, validate_args=self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """(..., D) -> (...,), in nats: an estimate without bias of the mean over orders."""
        if self._validate_args:
            self._validate_sample(value)
        log_p: Tensor = self.given(value, self.known).log_prob(value).masked_fill(self.known, 0.0).mean(-1)
        return log_p * (value.shape[-1] ** 2 / (~self.known).sum(-1))


def known_at_random(x: Tensor) -> Tensor:
    """Of every datum (..., D) the first d = 0..D-1 features of an order, both uniform: (..., D), bool."""
    size = x.shape[-1]
    rank = torch.rand_like(x).argsort(-1)
    return rank < (size * torch.rand_like(x[..., :1])).floor().clamp_max(size - 1)


def over_orders(members: Sequence[Conditionals]) -> Autoregressive | OverOrders:
    """The mixture of the members, or the only one of them."""
    return OverOrders(members) if len(members) > 1 else Autoregressive(members[0])
