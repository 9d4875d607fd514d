"""Retrieval: are a datum's nearest neighbours in the features of its own class?

Each datum held out is a query, and the training data are ranked by their likeness to it: the cosine of the angle
between their features, or for codes of bits the number of bits that agree. With R the data of the query's class, of
which r are among the first k,

    precision(k) = r / k,        recall(k) = r / R,

a query's precision at a recall is that at the least k which reaches it, and its average precision the mean over the R
of the precision at each. Data that are equally like a query come at once: none is put before another, so that the
numbers do not depend on the order of the data. A ranking at random has about the share of the class as its precision at
every recall.

Semantic Hashing. Salakhutdinov and Hinton, 2009. Replicated Softmax: an Undirected Topic Model. Salakhutdinov and
Hinton, 2009: the queries, the database and the mean over queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ppgen.errors import UsageError
from ppgen.evaluation.features import LabelledFeatures
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Along, Measure
from ppgen.pages.numbers import short

__all__ = ["RECALL", "Retrieval", "likeness", "retrievals", "retrieve"]

RECALL = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of a class at which the precision is given."""

_FIXED = 0.1
"""The recall whose precision is a number by itself."""

_QUERIES = 2000
"""At most: each ranks the whole database."""

_AT_ONCE = 200
"""Queries ranked at a time."""


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Of each query, in float64: ``precision`` (Q, R) at each of R recalls, ``average_precision`` (Q,), and
    ``at_random`` (Q,), about what a ranking at random has: the share of its class in the database.

    >>> import ppgen
    >>> features, labels = torch.eye(2).repeat(3, 1), torch.tensor([0, 1] * 3)  # of two classes
    >>> found = ppgen.evaluation.retrieve(features, labels, features, labels)
    >>> type(found).__name__, found.average_precision.mean().item()
    ('Retrieval', 1.0)
    """

    recall: tuple[float, ...]
    precision: Tensor
    average_precision: Tensor
    at_random: Tensor


def likeness(queries: Tensor, database: Tensor) -> Tensor:
    """How like each query is each datum of a database: (Q, F) and (N, F) to (Q, N).

    Of features that are all 0 or 1 minus the Hamming distance, of any others the cosine; 0 of a datum at the origin.

    >>> likeness(torch.tensor([[1.0, 0, 1]]), torch.tensor([[1.0, 1, 1], [0, 1, 0]]))
    tensor([[-1., -3.]])
    """
    if all(bool(((part == 0) | (part == 1)).all()) for part in (queries, database)):
        return -(queries @ (1 - database).T + (1 - queries) @ database.T)
    first, second = (normalize(part, dim=-1) for part in (queries, database))
    return first @ second.T


def retrieve(
    queries: Tensor,
    query_labels: Tensor,
    database: Tensor,
    database_labels: Tensor,
    *,
    recall: Sequence[float] = RECALL,
) -> Retrieval:
    """Precision against recall of every query; one whose class the database lacks is left out.

    Args:
        queries: features, (Q, F).
        query_labels: (Q,).
        database: features, (N, F).
        database_labels: (N,).
        recall: in (0, 1].

    Raises:
        UsageError: a recall is not in (0, 1], or the database holds no datum of any query's class.

    >>> database = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> found = retrieve(torch.tensor([[1.0, 0.2]]), torch.tensor([0]), database, torch.tensor([0, 1, 0]), recall=[1])
    >>> found.average_precision, found.precision  # the second of its class comes third
    (tensor([0.5833], dtype=torch.float64), tensor([[0.6667]], dtype=torch.float64))
    """
    if not all(0 < level <= 1 for level in recall):
        raise UsageError(f"a recall is a share of a class, expected numbers above 0 and up to 1, got {[*recall]}.")
    kept = torch.isin(query_labels, database_labels)
    if not bool(kept.any()):
        raise UsageError("the database holds no datum of any query's class: give both the same labels.")
    found = []  # of each query the precision at each datum of its class
    for some, labels in zip(queries[kept].split(_AT_ONCE), query_labels[kept].split(_AT_ONCE), strict=True):
        found += _precisions(likeness(some, database), labels[:, None] == database_labels)
    return Retrieval(
        tuple(recall),
        torch.stack([one[[ceil(level * len(one) - 1e-9) - 1 for level in recall]] for one in found]),
        torch.stack([one.mean() for one in found]),
        torch.tensor([len(one) / len(database) for one in found], dtype=torch.float64),
    )


def retrievals(features: LabelledFeatures, split: str) -> Iterator[Measure]:
    """``mean_average_precision``, with the precision along recall, and ``precision_at_tenth_recall``."""
    both = (features.held_out[:_QUERIES], features.train)  # rows are in random order
    queries, database = ((part > 0).double() if features.codes else part for part in both)
    labels = features.held_out_labels[:_QUERIES]
    if int(torch.isin(labels, features.train_labels).sum()) < 2:
        return
    found = retrieve(queries, labels, database, features.train_labels)
    means = [mean_and_error(column) for column in found.precision.T]
    value, error = zip(*means, strict=True)
    what = "bits, by how many agree" if features.codes else "features, by the cosine of their angle"
    how = f"{len(found.precision):,} {split} data among {len(database):,} training data in {queries.shape[1]:,} {what}"
    chance = short(float(found.at_random.mean()), 2)
    yield Measure(
        "mean_average_precision",
        *mean_and_error(found.average_precision),
        f"of retrieving the class of {how}; 1: all of it comes first, about {chance}: at random",
        Along("recall", "precision", found.recall, value, error),
    )
    yield Measure(
        "precision_at_tenth_recall",
        *means[found.recall.index(_FIXED)],
        f"share of the class among what is retrieved where a tenth of the class is; of {how}",
    )


def _precisions(alike: Tensor, same: Tensor) -> list[Tensor]:
    """Of each query the precision where each datum of its class is reached, the first first; (Q, N) twice."""
    order = alike.sort(dim=1, descending=True)
    hits = same.gather(1, order.indices)  # (Q, N)
    N = hits.shape[1]
    last = torch.ones_like(hits)
    last[:, :-1] = order.values[:, 1:] != order.values[:, :-1]  # of those equally like
    places = torch.arange(N, device=alike.device).expand_as(hits)
    end = places.where(last, N).flip(1).cummin(1).values.flip(1)  # (Q, N), where those equally like end
    precision = hits.double().cumsum(1).gather(1, end) / (end + 1)
    return [row[hit] for row, hit in zip(precision, hits, strict=True)]
