"""Counts of words in a document of known length."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import pad

__all__ = ["BagOfWords", "draw_counts", "draw_words"]


class BagOfWords(TorchDistribution):
    """How often each word comes in a document of ``length`` words that are drawn alone: multinomial counts.

        log P(x) = log(n! / prod_v x_v!) + sum_v x_v log p_v,        n = sum_v x_v

    The first term, :meth:`log_orders`, is the number of sequences of words with these counts: without it the value is
    the log-probability of one such sequence. In nats. Unlike torch's ``Multinomial``, documents differ in length.

    Args:
        log_probs: log p_v of each word, (..., V), each row summing to one in probability.
        length: words in the document, n, of a shape that broadcasts with (...,).

    >>> words = BagOfWords(torch.tensor([0.5, 0.5]).log(), torch.tensor(2.0))
    >>> words.log_prob(torch.tensor([[2.0, 0.0], [1.0, 1.0]])).exp()
    tensor([0.2500, 0.5000])
    """

    arg_constraints = {"log_probs": constraints.real_vector, "length": constraints.nonnegative}  # noqa: RUF012
    has_rsample = False

    def __init__(self, log_probs: Tensor, length: Tensor, *, validate_args: bool | None = None) -> None:
        self.log_probs, self.length = log_probs, length
        shape = torch.broadcast_shapes(log_probs.shape[:-1], length.shape)
        super().__init__(shape, log_probs.shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Whole numbers of at least zero, one for each word."""
        return constraints.independent(constraints.nonnegative_integer, 1)

    @property
    def probs(self) -> Tensor:
        """p_v, (..., V)."""
        return self.log_probs.exp()

    @property
    def mean(self) -> Tensor:
        """n p_v, (..., V)."""
        return self.length.unsqueeze(-1) * self.probs

    @staticmethod
    def log_orders(value: Tensor) -> Tensor:
        """log(n! / prod_v x_v!) of counts (..., V): (...,), in nats."""
        return torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of counts (..., V), in nats; ``value`` broadcasts with ``log_probs``."""
        if self._validate_args:
            self._validate_sample(value)
        return self.log_orders(value) + (value * self.log_probs).sum(-1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Counts of ``length`` words, shape ``sample_shape + (..., V)``."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            return draw_counts(self.probs.expand(shape), self.length.expand(shape[:-1]))

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> BagOfWords:
        """The same distribution with its parameters expanded to ``batch_shape``."""
        new: BagOfWords = self._get_checked_instance(BagOfWords, _instance)  # type: ignore[no-untyped-call]
        batch_shape = torch.Size(batch_shape)
        new.log_probs, new.length = self.log_probs.expand(batch_shape + self.event_shape), self.length
        super(BagOfWords, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


def draw_counts(probs: Tensor, length: Tensor) -> Tensor:
    """Multinomial counts (..., V) of ``length`` (...,) words, by log2(V) halvings of V with binomial draws.

    ``probs`` (..., V) need not sum to one.
    """
    num_words = probs.shape[-1]
    depth = max(num_words - 1, 0).bit_length()
    shares = [pad(probs, (0, 2**depth - num_words))]
    for _ in range(depth):
        shares.append(shares[-1].unflatten(-1, (-1, 2)).sum(-1))
    counts = length.unsqueeze(-1).to(probs)
    for children in reversed(shares[:-1]):
        halves = children.unflatten(-1, (-1, 2))  # (..., nodes, 2)
        left = torch.binomial(counts.contiguous(), halves[..., 0] / halves.sum(-1).clamp_min(1e-30))
        counts = torch.stack([left, counts - left], -1).flatten(-2)
    return counts[..., :num_words]


def draw_words(probs: Tensor, length: Tensor) -> Tensor:
    """As :func:`draw_counts`, (M, V) of M documents, word by word where that is less work; not to be traced."""
    most = int(length.max())
    if 2 * most > probs.shape[-1]:
        return draw_counts(probs, length.expand(len(probs)))
    words = torch.multinomial(probs, max(most, 1), replacement=True)  # (M, most)
    place = torch.arange(words.shape[-1], device=words.device)
    kept = (place < length.unsqueeze(-1)).to(probs).expand(words.shape)
    return torch.zeros_like(probs).scatter_add_(-1, words, kept)
