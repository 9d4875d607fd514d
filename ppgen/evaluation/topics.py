"""What is done with topics once they are learned: documents by them, their distances, their order in another run.

    M = (p + q) / 2,        JS(p, q) = (KL(p || M) + KL(q || M)) / 2,        d(p, q) = sqrt(JS(p, q) / log 2) in [0, 1]

d is a metric (Endres and Schindelin 2003), 0 for one topic twice and 1 for topics without a word in common, and topics
with these distances lie in a Euclidean space (Fuglede and Topsoe 2004): the plane of the map is that of the two largest
principal components there, by classical scaling, as LDAvis has it (Sievert and Shirley 2014).

Topics have no order of their own. Those of two runs are matched one to one so that the sum of d is least (the Hungarian
algorithm of SciPy); how near they then are says whether another seed finds the same topics.

References: A new metric for probability distributions, Endres and Schindelin, 2003. Jensen-Shannon divergence and
Hilbert space embedding, Fuglede and Topsoe, 2004. LDAvis, Sievert and Shirley, 2014. How many topics? Stability
analysis for topic models, Greene, O'Callaghan and Cunningham, 2014.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.evaluation.coherence import check_topics
from ppgen.pairs.log_weights import read_particles
from ppgen.pairs.parameters import in_evaluation
from ppgen.pairs.tracing import Batch

__all__ = ["document_shares", "jensen_shannon", "matched_topics", "plane_of_topics", "topic_stability", "topic_trends"]


def document_shares(pair: Any, batch: Batch, num_particles: int = 10) -> Tensor | None:
    """The shares of the topics in each document, (D, T), rows summing to one: means over draws of the guide.

    None for a pair that neither says which latent they are (``shares_site``) nor states them (``shares_of``).
    """
    site, stated = getattr(pair, "shares_site", None), getattr(pair, "shares_of", None)
    if callable(stated):
        with torch.no_grad(), in_evaluation(pair):
            folded: Tensor = stated(batch[0])
        return folded
    if site is None:
        return None
    chunks = read_particles(pair, batch, num_particles, lambda p: p.guide_sites[site]["value"].softmax(-1))
    return torch.cat([torch.cat(blocks).mean(0) for blocks in chunks])


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """d of every two topics, (T, V) and (S, V) to (T, S), float64.

    Raises:
        UsageError: rows are no distributions, or the vocabularies differ.

    >>> jensen_shannon(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor([[0., 1.]], dtype=torch.float64)
    """
    check_topics(first)
    check_topics(second)
    if first.shape[1] != second.shape[1]:
        raise UsageError(
            f"topics are over {first.shape[1]} words and over {second.shape[1]}: compare those of one vocabulary."
        )
    p, q = first.detach().double(), second.detach().double()
    rows = [_information((row + q) / 2) - (_information(row) + _information(q)) / 2 for row in p]
    return (torch.stack(rows) / math.log(2)).clamp(0, 1).sqrt()


def matched_topics(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Which topic of the second each of the first is, (T,), and how far from it, (T,), in [0, 1].

    Args:
        first: (T, V), rows summing to one.
        second: (S, V), at least as many.

    Raises:
        UsageError: as :func:`jensen_shannon`; the second has fewer topics.

    >>> topics = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]])
    >>> matched_topics(topics, topics.flip(0))
    (tensor([1, 0]), tensor([0., 0.], dtype=torch.float64))
    """
    from scipy.optimize import linear_sum_assignment

    if len(second) < len(first):
        raise UsageError(f"{len(first)} topics cannot each have one of {len(second)}: give the fewer first.")
    distance = jensen_shannon(first, second)
    order = torch.as_tensor(linear_sum_assignment(distance.cpu().numpy())[1], device=distance.device)
    return order, distance.gather(1, order[:, None]).squeeze(1)


def topic_stability(runs: Sequence[Tensor]) -> Tensor:
    """How near each topic of the first run is to its like in the others, (T,): the mean of 1 - d, 1 where they agree.

    Args:
        runs: topics of several seeds, (T, V) each; at least two.

    Raises:
        UsageError: as :func:`matched_topics`; fewer than two runs.
    """
    if len(runs) < 2:
        raise UsageError(f"stability is over seeds: expected the topics of at least 2 runs, got {len(runs)}.")
    first, *others = runs
    return 1 - torch.stack([matched_topics(first, other)[1] for other in others]).mean(0)


def plane_of_topics(topics: Tensor) -> Tensor:
    """Places of topics in the plane, (T, V) to (T, 2), float64, about as far apart as they differ.

    The second number is 0 where two topics differ in one direction alone; of each number the largest is positive.
    """
    squared = jensen_shannon(topics, topics).square()
    centred = squared - squared.mean(0) - squared.mean(1, keepdim=True) + squared.mean()
    values, vectors = torch.linalg.eigh(-centred / 2)  # ascending
    places = vectors[:, -2:].flip(1) * values[-2:].flip(0).clamp_min(0).sqrt()
    largest = places.gather(0, places.abs().argmax(0, keepdim=True))
    return torch.nn.functional.pad(places * largest.sign(), (0, 2 - places.shape[1]))


def topic_trends(shares: Tensor, num_words: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """The topics' parts in the words of each time: the times, sorted, (G,), and shares, (G, T), rows summing to one.

    Args:
        shares: of each document, (D, T), as :func:`document_shares` gives them.
        num_words: of each document, (D,).
        times: a number of each document, (D,): a year, or a class.

    Raises:
        UsageError: they are not of as many documents.
    """
    if not len(shares) == len(num_words) == len(times):
        raise UsageError(
            f"expected shares, words and times of as many documents, got {len(shares)}, {len(num_words)} and "
            f"{len(times)}."
        )
    found, place = times.unique(return_inverse=True)
    words = shares.double() * num_words.double()[:, None]
    total = words.new_zeros(len(found), shares.shape[1]).index_add_(0, place, words)
    return found, total / total.sum(1, keepdim=True)


def _information(probs: Tensor) -> Tensor:
    """-sum p log p over the last dim, in nats."""
    return -torch.xlogy(probs, probs).sum(-1)
