"""PLSA: every document is a mixture of topics, with shares of its own that are parameters and have no prior.

    x_d ~ n_d words, each from theta_d beta        theta_d: (T,), shares; beta: (T, V), topics; x_d: (V,), counts

    log p(x_d) = sum_v x_dv log (theta_d beta)_v + log(n_d! / prod_v x_dv!)        (nats)

Each word's topic z is summed out, so nothing is left for a guide. EM (Hofmann, eq. 3 to 6):

    E    r_dvt = theta_dt beta_tv / sum_s theta_ds beta_sv
    M    theta_dt = sum_v x_dv r_dvt / n_d,        beta_tv  proportional to  sum_d x_dv r_dvt

There are N T parameters of documents: they grow with the data, and so it overfits, where LDA integrates shares out. And
it is no model of documents that it has not seen: those are folded in,

    theta(x) = argmax_theta sum_v x_v log (theta beta)_v,        EM in theta alone, ``iterations`` steps from 1 / T,

and log p(x) at that is a maximum over theta, not a density of x. What can be compared with other models is document
completion, where theta is found by one half and scored by the other. It is the limit of LDA with alpha = 1 and the
posterior's mode for the shares (Girolami and Kaban, 2003).

Reference: Probabilistic Latent Semantic Indexing, Hofmann, SIGIR 1999.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pyro
import torch
from torch import Tensor, nn

from ppgen.arguments import Count, at_most_data
from ppgen.data import DataSpec
from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.errors import UsageError, shown
from ppgen.layers.words import check_counts, off_zero, ratio
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["PLSA"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and its five documents."""
    return PLSA(DataSpec("tiny", 6, "counts", num_data=5), 2, iterations=3), (1 + torch.poisson(torch.ones(5, 6)),)


@register_model(
    "plsa",
    summary="probabilistic latent semantic analysis: LDA's mixture with shares that are parameters of each document",
    reference="Hofmann, Probabilistic latent semantic indexing",
    year=1999,
    link="https://doi.org/10.1145/312624.312649",
    tags=("topics", "exact"),
    tiny=_tiny,
    recommended=Recommended("em", training={"steps": 200, "batch_size": 1_000_000}),
)
class PLSA(Pair):
    """PLSA. One batch is ``(x,)``, x of shape (B, V): counts of words; in training it is all the data, in their order.

    Sites:
        x: (V,), observed, in the plate ``data``: a :class:`ppgen.distributions.bag_of_words.BagOfWords`

    Parameters: ``share_logits`` of theta (N, T), read in training; ``topic_logits`` of beta (T, V). In evaluation
    (``pair.eval()``) documents are folded in.

    Args:
        spec: what one datum is: counts, of a data set whose size N is known; topics start around its mean.
        num_topics: T, at most N.
        iterations: steps by which a document is folded in.

    Raises:
        UsageError: the data are not counts, N is not known, or there are more topics than documents.

    >>> pair = PLSA(DataSpec("documents", 50, "counts", num_data=8), num_topics=3)
    >>> pair.topics.shape, pair.shares.shape
    (torch.Size([3, 50]), torch.Size([8, 3]))
    """

    folds_in: ClassVar[bool] = True

    def __init__(self, spec: DataSpec, num_topics: Count = 50, *, iterations: Count = 50) -> None:
        super().__init__()  # a batch is all the data
        _check(spec, num_topics)
        self.num_topics, self.iterations = num_topics, iterations
        mean = torch.ones(spec.num_features) if spec.mean is None else spec.mean.clamp_min(1e-4)
        self.topic_logits = nn.Parameter(mean.log() + 0.5 * torch.randn(num_topics, spec.num_features))
        self.share_logits = nn.Parameter(0.1 * torch.randn(spec.num_data or 1, num_topics))

    def model(self, x: Tensor) -> None:
        theta = self.shares_of(x)  # (B, T)
        with self.data_plate(x):
            log_probs = off_zero(theta @ self.topics).log()
            pyro.sample("x", BagOfWords(log_probs, x.sum(-1)), obs=x)  # (B, V)

    def guide(self, x: Tensor) -> None:
        pass

    @property
    def topics(self) -> Tensor:
        """beta (T, V), rows summing to one."""
        return self.topic_logits.softmax(-1)

    @property
    def shares(self) -> Tensor:
        """theta (N, T) of the training data, rows summing to one."""
        return self.share_logits.softmax(-1)

    def shares_of(self, x: Tensor) -> Tensor:
        """theta of documents (B, V): (B, T); in training those of all the data, in evaluation folded in.

        Raises:
            UsageError: it is trained on another number of documents than it has shares of.
        """
        if not self.training:
            return self._folded_in(x)
        if len(x) != len(self.share_logits):
            raise UsageError(
                f"PLSA has shares of {len(self.share_logits)} documents as parameters and is trained on all of them at "
                f"once, got a batch of {len(x)}: train with batch_size={len(self.share_logits)}."
            )
        return self.shares

    @torch.no_grad()
    def _folded_in(self, x: Tensor) -> Tensor:
        theta = x.new_full((len(x), self.num_topics), 1 / self.num_topics)
        for _ in range(self.iterations):
            theta = theta * (ratio(x, theta @ self.topics) @ self.topics.T)
            theta = theta / off_zero(theta.sum(-1, keepdim=True))
        return theta

    def expected_statistics(self, x: Tensor, *, hard: bool = False) -> dict[str, Tensor]:
        """How many words each topic has: ``shares`` (N, T), ``topics`` (T, V); ``count`` N. Of all the data at once.

        Hard, each document's occurrences of a word go to their most probable topic, (N, T, V) in memory.
        """
        theta, beta = self.shares_of(x), self.topics
        count = x.new_full((), len(x))
        if hard:
            best = (theta.log()[:, :, None] + beta.log()).argmax(1, keepdim=True)  # (N, 1, V)
            given = x.new_zeros(len(x), *beta.shape).scatter_(1, best, x[:, None])
            return {"shares": given.sum(-1), "topics": given.sum(0), "count": count}
        told = ratio(x, theta @ beta)  # (N, V)
        return {"shares": theta * (told @ beta.T), "topics": beta * (theta.T @ told), "count": count}

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of the shares and of the topics.

        Raises:
            UsageError: a topic has no word.
        """
        words = statistics["topics"].sum(1)  # (T,)
        if not bool((words > 0).all()):
            raise UsageError(
                f"topic {int(words.argmin())} of PLSA is left without a word: lower num_topics, or start elsewhere."
            )
        return {f"{name}_logits": off_zero(statistics[f"{name}s"]).log() for name in ("share", "topic")}

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x), (B,), in nats; folded in, the maximum over theta."""
        theta = self.shares_of(x)
        return BagOfWords(off_zero(theta @ self.topics).log(), x.sum(-1)).log_prob(x)


def _check(spec: DataSpec, num_topics: int) -> None:
    check_counts("PLSA", spec)
    if spec.num_data is None:
        raise UsageError(
            f"PLSA has parameters of each document, and data {shown(spec.name)} do not say how many there are: give "
            "their DataSpec a num_data."
        )
    at_most_data("PLSA", "num_topics", num_topics, spec.num_data, "documents")
