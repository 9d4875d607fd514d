"""The words' topics, drawn word by word in all documents at once: Gibbs sampling, collapsed over the shares.

    z_di | z_d without i, beta   with probability proportional to   (alpha_t + n_dt) beta_t,w_di

with n_dt how many of the document's other words topic t has. Given the topics beta documents are independent, so that
the i-th words of all documents that have one are drawn in one step, which is the sampler of one document after another,
to the letter: as many steps as the longest document has words, and no approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["Words", "likelier", "words_of"]


@dataclass(frozen=True)
class Words:
    """The M words of N documents: first the first word of each, then the second of each that has one, and so on.

    Args:
        word: (M,), indices into the vocabulary.
        document: (M,), of which rank by length, the longest first.
        lengths: (N,), in the documents' own order.
        rank: (N,), of each document.
        sizes: how many documents have an i-th word, (longest,).
    """

    word: Tensor
    document: Tensor
    lengths: Tensor
    rank: Tensor
    sizes: Tensor

    def shares(self, topics: Tensor, num_topics: int) -> Tensor:
        """n_dt, (N, T) by rank, of the words' topics (M,), float64."""
        counts = torch.zeros(len(self.lengths), num_topics, dtype=torch.float64, device=topics.device)
        return counts.index_put_((self.document, topics), counts.new_ones(()), accumulate=True)

    def table(self, topics: Tensor, num_topics: int, num_words: int) -> Tensor:
        """n_tv, (T, V), float64: how many words v topic t has."""
        counts = torch.zeros(num_topics, num_words, dtype=torch.float64, device=topics.device)
        return counts.index_put_((topics, self.word), counts.new_ones(()), accumulate=True)

    def by_document(self, values: Tensor) -> Tensor:
        """The sum over each document's words of values (M,): (N,), in the documents' own order."""
        return values.new_zeros(len(self.lengths)).index_add_(0, self.document, values)[self.rank]

    @torch.no_grad()
    def sweep(self, topics: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the topic of every word once, given alpha (T,) and beta (T, V).

        Returns:
            The topics, (M,), and sum_t (alpha_t + n_dt) beta_t,w at each word, (M,).
        """
        columns, last, sizes = beta.T.contiguous(), len(alpha) - 1, self.sizes.tolist()
        weights = self.shares(topics, len(alpha)).to(beta) + alpha  # (N, T)
        one = beta.new_ones(len(weights), 1)
        minus, uniform = -one, torch.rand_like(self.word, dtype=beta.dtype)
        drawn, totals = torch.empty_like(topics), torch.empty_like(uniform)
        each = (part[:, None].split(sizes) for part in (topics, uniform, drawn, totals))
        for word, old, draw, new, total in zip(self.word.split(sizes), *each, strict=True):  # the i-th words
            now = weights.narrow(0, 0, len(word))
            now.scatter_add_(1, old, minus)
            sums = columns.index_select(0, word).mul_(now).cumsum_(1)  # (size, T)
            total.copy_(sums.narrow(1, last, 1))
            torch.searchsorted(sums, draw * total, right=True, out=new).clamp_max_(last)
            now.scatter_add_(1, new, one)
        return drawn, totals


_MADE = WeakTensorKeyDictionary()
"""Of counts that are still there: how often they have been written to, and their words."""


def words_of(x: Tensor) -> Words:
    """The words of counts x, (N, V); of the same tensor they are made once."""
    version, words = _MADE.get(x, (None, None))
    if not isinstance(words, Words) or version != x._version:
        words = _words_of(x)
        _MADE[x] = x._version, words
    return words


def _words_of(x: Tensor) -> Words:
    document, word = x.nonzero(as_tuple=True)
    count = x[document, word].long()
    document, word = document.repeat_interleave(count), word.repeat_interleave(count)  # (M,) each
    lengths = x.sum(1).long()
    order = lengths.argsort(descending=True, stable=True)
    rank = order.argsort()
    place = torch.arange(len(word), device=x.device) - (lengths.cumsum(0) - lengths)[document]
    sizes = place.bincount()
    at = (sizes.cumsum(0) - sizes)[place] + rank[document]
    return Words(
        torch.empty_like(word).index_put_((at,), word),
        torch.empty_like(word).index_put_((at,), rank[document]),
        lengths,
        rank,
        sizes,
    )


def likelier(alpha: Tensor, counts: Tensor) -> Tensor:
    """alpha (T,) after one fixed-point step on the likelihood of the documents' counts (N, T); it stays positive."""
    total = counts.sum(1)
    rises = (torch.digamma(counts + alpha) - torch.digamma(alpha)).sum(0)  # (T,)
    whole = (torch.digamma(total + alpha.sum()) - torch.digamma(alpha.sum())).sum()
    return (alpha * rises / whole).clamp_min(1e-6)
