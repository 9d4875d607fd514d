"""Sequences of symbols of known length, each drawn given the one before."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ppgen.distributions.symbols import END, predecessors, present

__all__ = ["MarkovChain"]


class MarkovChain(TorchDistribution):
    """A homogeneous Markov chain of the first order on V symbols, of the length that each sequence has.

        log P(x | n) = log A[V, x_1] + sum_{t=2..n} log A[x_{t-1}, x_t]        (nats)

    The start is a state of its own, the last row of A. Sequences are (..., T), 0..V-1 and -1 after the last
    (:mod:`ppgen.distributions.symbols`).

    Args:
        log_probs: log A, (V + 1, V), each row summing to one in probability.
        places: which places hold a symbol, (..., T), bool: the lengths.

    >>> x, probs = torch.tensor([[0.0, 1.0, -1.0]]), torch.tensor([[0.9, 0.1], [0.5, 0.5], [1.0, 0.0]])
    >>> MarkovChain(probs.log(), present(x)).log_prob(x).exp()
    tensor([0.1000])
    """

    arg_constraints = {"log_probs": constraints.independent(constraints.real, 2)}  # noqa: RUF012
    has_rsample = False

    def __init__(self, log_probs: Tensor, places: Tensor, *, validate_args: bool | None = None) -> None:
        self.log_probs, self.places = log_probs, places
        super().__init__(places.shape[:-1], places.shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Whole numbers from -1, which is none, to V - 1."""
        return constraints.independent(constraints.integer_interval(END, self.log_probs.shape[-1] - 1), 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of sequences (..., T), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        symbols, before = predecessors(value, len(self.log_probs) - 1)
        told = self.log_probs[before, symbols]
        return torch.where(present(value), told, 0.0).sum(-1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Sequences of these lengths, shape ``sample_shape + (..., T)``, in the type of ``log_probs``."""
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            probs, places = self.log_probs.exp(), self.places.expand(shape).reshape(-1, shape[-1])
            drawn = torch.full(places.shape, END, device=probs.device)
            state = drawn.new_full((len(places),), len(probs) - 1)
            for t in range(shape[-1]):
                state = torch.multinomial(probs[state], 1).squeeze(-1)
                drawn[:, t] = torch.where(places[:, t], state, END)
            return drawn.to(probs).reshape(shape)

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> MarkovChain:
        """The same distribution with its lengths expanded to ``batch_shape``."""
        new: MarkovChain = self._get_checked_instance(MarkovChain, _instance)  # type: ignore[no-untyped-call]
        batch_shape = torch.Size(batch_shape)
        new.log_probs, new.places = self.log_probs, self.places.expand(batch_shape + self.event_shape)
        super(MarkovChain, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new
