"""Pairs that Gibbs sampling can train: latents of all the data, drawn from their conditionals by a sweep of the pair's.

    z' ~ T(z' | z),    T leaves p(z | x) as it is        one sweep
    s(z)                                                 statistics, whose mean over sweeps goes into the pair

What is collapsed and what is drawn within a sweep is the family's. z is a state of tensors, of which the sweep is a
function: a chain goes on from where it is, and is checkpointed as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ppgen.errors import UsageError
from ppgen.pairs.parameters import owner

__all__ = ["Conditionals", "conditional_pair"]


@runtime_checkable
class Conditionals(Protocol):
    """A pair whose latents move by Gibbs sampling: to add one, write these methods.

    A batch is all the data, in their own order: a chain has a state of each datum.
    """

    def gibbs_start(self, *batch: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """z to begin with and s(z), by name; random numbers are torch's."""

    def gibbs_sweep(
        self, state: Mapping[str, Tensor], *batch: Any, learn_prior: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """The next z, s(z), and how well each datum is told by the rest of z, (N,), in nats.

        With ``learn_prior`` s has the prior's parameters after a step of maximum likelihood on z, else as they are.
        """

    def gibbs_parameters(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values of the pair's parameters at the mean of s, by their names in it; those that are not named stay."""

    def log_predictive(self, *batch: Any) -> Tensor:
        """Of data beside the chain, at the pair's parameters: how well each is told, (B,), in nats."""


def conditional_pair(model: Callable[..., Any], needed_by: str) -> Conditionals:
    """The pair whose model it is, which has conditionals.

    Raises:
        UsageError: it has none.
    """
    pair: Any = owner(model)
    if isinstance(pair, Conditionals):
        return pair
    what = "a function" if pair is None else type(pair).__name__
    raise UsageError(
        f"{needed_by} moves latents by the conditionals that a pair states, got {what}: choose another objective, or "
        "the model 'lda' (your own: see ppgen.pairs.conditionals.Conditionals)."
    )
