"""Topics as people judge them: whether a topic's words are found together, and whether topics differ.

With p_i the share of the reference documents in which word i occurs, and p_ij that of those in which i and j both do,

    NPMI(i, j) = log(p_ij / (p_i p_j)) / -log p_ij        in [-1, 1]

is 1 for words that occur only together, 0 for independent ones, and -1, its limit, for words that never meet
(Bouma 2009). A topic's coherence is the mean over pairs of its most probable words, which goes along with the
judgement of people (Aletras and Stevenson 2013; Lau, Newman and Baldwin 2014). As in the published tables, it is the
mean of that of the first 5 and of the first 10 words. Two conventions differ between programs and matter:

- a window is a whole document, so that counts are read as present or absent;
- words that never meet count -1. Lau's program counts them 0, and gensim adds 1e-12 to p_ij: ``never`` takes another
  number than -1, for a comparison.

Diversity is the share of distinct words among the 25 most probable of every topic (Dieng, Ruiz and Blei 2020), for
fifty copies of one good topic are coherent.

References: Normalized (pointwise) mutual information in collocation extraction, Bouma, 2009. Evaluating topic
coherence using distributional semantics, Aletras and Stevenson, 2013. Machine reading tea leaves, Lau, Newman and
Baldwin, 2014. Topic modeling in embedding spaces, Dieng, Ruiz and Blei, 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Measure

__all__ = [
    "check_topics",
    "coherence",
    "coherences",
    "diversity",
    "npmi",
    "published_coherence",
    "top_words",
    "topics_of",
]

COHERENCE_WORDS = (5, 10)
"""How many words of a topic the published coherence is a mean over."""

DIVERSITY_WORDS = 25


def top_words(topics: Tensor, num: int) -> Tensor:
    """The ids of each topic's most probable words, the first first: (K, V) to (K, num).

    Raises:
        UsageError: ``topics`` are no rows of probabilities, or have fewer words.
    """
    check_topics(topics)
    if not 1 <= num <= topics.shape[1]:
        raise UsageError(
            f"expected between 1 and {topics.shape[1]} words of a topic (the size of the vocabulary), got {num}."
        )
    return topics.argsort(dim=1, descending=True, stable=True)[:, :num]


def npmi(documents: Tensor, *, never: float = -1.0) -> Tensor:
    """NPMI of every two words, in a reference of documents.

    Args:
        documents: (D, W) counts; a word occurs in a document or does not.
        never: of words that are nowhere in one document, among them words that do not occur at all.

    Returns:
        (W, W), float64, symmetric; 1 for two words that are both in every document, the limit.
    """
    present = (documents > 0).double()  # (D, W)
    both = present.T @ present / len(present)  # (W, W)
    alone = both.diagonal()
    value = (both / (alone * alone[:, None])).log() / -both.log()
    return value.masked_fill(both == 1, 1.0).masked_fill(both == 0, never)


def coherence(topics: Tensor, documents: Tensor, num_words: int = 10, *, never: float = -1.0) -> Tensor:
    """The mean NPMI of every two of a topic's ``num_words`` most probable words.

    Args:
        topics: (K, V), rows sum to one.
        documents: the reference, (D, V) counts.
        num_words: at least 2.
        never: NPMI of words that never meet.

    Returns:
        (K,), float64, in [-1, 1].

    Raises:
        UsageError: ``topics`` are no rows of probabilities; another vocabulary than the documents'; fewer than 2
            words, or more than there are; no document.

    >>> documents = torch.tensor([[1, 1, 0], [2, 1, 0], [0, 0, 3]])
    >>> coherence(torch.tensor([[0.5, 0.4, 0.1], [0.1, 0.4, 0.5]]), documents, num_words=2).float()
    tensor([ 1., -1.])
    """
    _check_reference(topics, documents)
    if num_words < 2:
        raise UsageError(f"coherence is that of pairs: expected at least 2 words of a topic, got {num_words}.")
    words = top_words(topics, num_words)  # (K, num)
    used, place = words.unique(return_inverse=True)  # (W,), (K, num)
    table = npmi(documents[:, used], never=never)  # (W, W)
    first, second = torch.triu_indices(num_words, num_words, 1)
    return table[place[:, first], place[:, second]].mean(1)


def diversity(topics: Tensor, num_words: int = DIVERSITY_WORDS) -> float:
    """The share of distinct words among the ``num_words`` most probable of every topic: 1 where no two share one.

    Raises:
        UsageError: ``topics`` are no rows of probabilities, or have fewer words.

    >>> diversity(torch.tensor([[0.5, 0.4, 0.1], [0.1, 0.4, 0.5]]), num_words=2)
    0.75
    """
    words = top_words(topics, num_words)
    return len(words.unique()) / words.numel()


def published_coherence(topics: Tensor, documents: Tensor) -> Tensor:
    """The mean of each topic's coherence over its first 5 and its first 10 words, (K,): what the tables give."""
    return torch.stack([coherence(topics, documents, num) for num in COHERENCE_WORDS]).mean(0)


def topics_of(pair: Any) -> Tensor | None:
    """A topic pair's word distributions, ``pair.topics``, (K, V); None for a pair that has none.

    Raises:
        UsageError: its rows are no distributions.
    """
    topics = getattr(pair, "topics", None)
    if not isinstance(topics, Tensor):
        return None
    check_topics(topics)
    return topics.detach()


def coherences(case: Case) -> Iterator[Measure]:
    """``npmi`` and ``topic_diversity`` of pairs with ``topics``, as far as the vocabulary is large enough."""
    topics, documents = topics_of(case.pair), case.batch[0]
    if topics is None:
        return
    K, V = topics.shape
    if max(COHERENCE_WORDS) <= V:
        each = published_coherence(topics, documents)  # (K,)
        value, error = mean_and_error(each) if K > 1 else (float(each), None)
        yield Measure(
            "npmi",
            value,
            error,
            f"coherence in [-1, 1], the mean over {K:,} topics of the NPMI of their first 5 and first 10 words, in the "
            f"{len(documents):,} {case.split} documents; words that never meet count -1",
        )
    if V > DIVERSITY_WORDS:
        meaning = f"share of distinct words among the first {DIVERSITY_WORDS} of all {K:,} topics: 1 if none is shared"
        yield Measure("topic_diversity", diversity(topics), None, meaning)


def check_topics(topics: Tensor) -> None:
    """Every row of ``topics``, (K, V), is a distribution over the vocabulary.

    Raises:
        UsageError: another shape, a negative number, or a row that does not sum to one; the row is named.
    """
    if topics.dim() != 2 or 0 in topics.shape:
        raise UsageError(f"expected topics of shape (topics, words), got {tuple(topics.shape)}.")
    wrong = (topics < 0).any(1) | ~((topics.double().sum(1) - 1).abs() < 1e-3)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise UsageError(
            f"every topic is a distribution over words: expected row {row} to sum to one without negative numbers, "
            f"its sum is {float(topics[row].sum()):g} and its least {float(topics[row].min()):g}; give probabilities, "
            "logits.softmax(-1)."
        )


def _check_reference(topics: Tensor, documents: Tensor) -> None:
    check_topics(topics)
    if documents.dim() != 2 or documents.shape[1] != topics.shape[1] or len(documents) == 0:
        raise UsageError(
            f"expected documents of the topics' {topics.shape[1]} words, (documents, words), at least one, got "
            f"{tuple(documents.shape)}: count them over the vocabulary that the topics are over."
        )
