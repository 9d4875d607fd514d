"""A vector whose features are drawn one after another, each given those before it in an order.

    log p(x) = sum_t log p(x_{o_t} | x_{o_1}, ..., x_{o_{t-1}})            o a permutation of 0..D-1

Conditionals give the law of every feature at once, that of feature i reading those before i in the order and no others:
log p(x) is one pass, a draw has D, and what stands first in the order can be given and the rest completed.

The Neural Autoregressive Distribution Estimator. Hugo Larochelle and Iain Murray, 2011, eq. 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from ppgen.distributions.turns import in_turn
from ppgen.errors import UsageError, shown

__all__ = ["Autoregressive", "Conditionals", "check_known_first", "checked_order"]


class Conditionals(nn.Module, ABC):
    """p(x_i | those before i) for all features of x, in an order.

    Attributes:
        order: (D,), int64; ``order[t]`` is the feature that is drawn as number t. A buffer.
        support: of one feature.

    To add one: 1. subclass, 2. write ``forward``, 3. where one feature's law costs less than all of them, ``draw``, or
    where what is known after a feature helps with the next, ``complete``.
    """

    order: Tensor
    support: Any = constraints.real

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)

    @abstractmethod
    def forward(self, x: Tensor) -> TorchDistribution:
        """The law of each feature, of batch shape (..., D) and event shape (), at x of shape (..., D).

        Element i of the batch is a function of the x_j with j before i in ``order``, and of no others.
        """

    def draw(self, x: Tensor, i: int) -> Tensor:
        """Feature i given those before it in x, (..., D) to (...,)."""
        value: Tensor = self(x).sample()[..., i]
        return value

    def drawn(self, batch_shape: torch.Size) -> Tensor:
        """Draws, batch_shape + (D,), in the type of the parameters, or of the buffers."""
        numbers = (one for one in (*self.parameters(), *self.buffers()) if one.is_floating_point())
        like = next(numbers, torch.empty(0, device=self.order.device))
        return self.complete(torch.zeros(*batch_shape, len(self.order), dtype=like.dtype, device=like.device))

    def complete(self, x: Tensor, num_given: int = 0) -> Tensor:
        """Draws, (..., D): x in the first ``num_given`` features of the order, the others drawn given those before."""
        x = x.clone()
        for i in in_turn(self.order[num_given:].tolist()):
            x[..., i] = self.draw(x, i)
        return x


class Autoregressive(TorchDistribution):
    """Features drawn in turn; event shape (D,). See the module's docstring.

    Args:
        conditionals: the law of each feature given those before it.
        batch_shape: of the distribution; what conditionals read beside x broadcasts with it.

    >>> class Chain(Conditionals):  # each bit is most likely that before it
    ...     support = constraints.boolean
    ...
    ...     def forward(self, x):
    ...         before = torch.cat([torch.full_like(x[..., :1], 0.5), x[..., :-1]], -1)
    ...         return torch.distributions.Bernoulli(0.1 + 0.8 * before)
    >>> bits = Autoregressive(Chain(torch.arange(3)))
    >>> bits.log_prob(torch.tensor([1.0, 1.0, 0.0])).exp()  # 0.5 * 0.9 * 0.1
    tensor(0.0450)
    """

    arg_constraints = {}  # noqa: RUF012  # torch's protocol
    has_rsample = False

    def __init__(self, conditionals: Conditionals, batch_shape: Any = (), validate_args: bool | None = None) -> None:
        self.conditionals = conditionals
        super().__init__(torch.Size(batch_shape), conditionals.order.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=None, event_dim=1)
    def support(self) -> Any:
        """That of the conditionals, feature by feature."""
        return constraints.independent(self.conditionals.support, 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Autoregressive:
        """As any distribution."""
        return Autoregressive(self.conditionals, batch_shape, validate_args=self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """(..., D) -> (...,), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_p: Tensor = self.conditionals(value).log_prob(value).sum(-1)
        return log_p.expand(torch.broadcast_shapes(log_p.shape, self.batch_shape))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, sample_shape + (..., D), feature by feature."""
        return self.conditionals.drawn(torch.Size(sample_shape) + self.batch_shape)

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor) -> Tensor:
        """Draws of the other features given those that are known, (..., D).

        Args:
            x: (..., D); what is not known is not read.
            known: (D,), bool.

        Raises:
            UsageError: a known feature stands behind an unknown one in the order, where ancestral draws are none of
                the conditional distribution.
        """
        check_known_first(self, known)
        return self.conditionals.complete(torch.where(known, x, 0), int(known.sum()))

    def completes(self, known: Tensor) -> bool:
        """Whether what is known, (D,), stands first in the order, so that the rest can be drawn given it."""
        first = self.conditionals.order[: int(known.sum())]
        return bool(known.to(first.device)[first].all())


def check_known_first(distribution: Any, known: Tensor) -> None:
    """Completion is exact of what is known, (D,).

    Raises:
        UsageError: a known feature stands behind an unknown one in the order, or in one of several.
    """
    if not distribution.completes(known):
        raise UsageError(
            "completion needs the known features to stand first in the model's order, and in each where there are "
            "several, and some stand behind unknown ones: complete what comes last (of rows from above the lower "
            "ones), or train another order."
        )


def checked_order(order: Any, num_features: int) -> Tensor:
    """A permutation of 0..D-1, (D,), int64.

    Raises:
        UsageError: it is none.

    >>> checked_order([1, 0], 2)
    tensor([1, 0])
    """
    found = torch.as_tensor(order)
    if found.is_floating_point() or found.shape != (num_features,) or sorted(found.tolist()) != [*range(num_features)]:
        raise UsageError(
            f"order must hold each of the {num_features} features 0 to {num_features - 1} once, got {shown(order)}: "
            "give a permutation."
        )
    return found.long()
