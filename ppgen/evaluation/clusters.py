"""Clusters: how far categories that were found without labels are those of the labels.

    accuracy = max over maps m of (1 / n) sum_i 1[ m(argmax_c q(c | x_i)) = label_i ]

over the maps of categories to classes that give no class to two categories (the Hungarian method on the table of both),
by the pair's ``category_probs(x)``, the probabilities q(c | x), (B, D) to (B, C). Where there are more categories than
classes the rest are wrong. Of a pair with topics they are a document's shares of them, means under the guide, and the
category is its main topic. The map is found on the data that are judged; n is to be large against C. ``num_clusters``
is how many categories are the most probable one of some datum.

Two more measures compare the partitions as such, whatever their numbers of parts, and are 1 where they are the same:

    ARI = (R - E[R]) / (max R - E[R]),        R: pairs of data that are together in both; 0 expected of chance
    NMI = I(c; label) / ((H(c) + H(label)) / 2),        in [0, 1]

The adjusted Rand index: Comparing partitions, Hubert and Arabie, 1985. Normalised mutual information: Cluster
ensembles, Strehl and Ghosh, 2002; both as scikit-learn has them. The accuracy: Unsupervised Deep Embedding for
Clustering Analysis, Xie, Girshick and Farhadi, 2016, eq. 10.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ppgen.evaluation.case import Case
from ppgen.evaluation.features import known_labels
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Measure
from ppgen.evaluation.topics import document_shares
from ppgen.pairs.parameters import in_evaluation

__all__ = ["agreement", "cluster_accuracies", "matched"]

_ROWS = 1000
"""Data at a time."""


def matched(categories: Tensor, labels: Tensor) -> Tensor:
    """Whether each datum's category is the one that stands for its label, (n,) of 0 and 1 in float64.

    Args:
        categories: of each datum, whole numbers from 0, (n,).
        labels: likewise, (n,).

    >>> matched(torch.tensor([2, 2, 0, 0, 1]), torch.tensor([0, 0, 1, 1, 1]))
    tensor([1., 1., 1., 1., 0.], dtype=torch.float64)
    """
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((int(categories.max()) + 1, int(labels.max()) + 1))
    np.add.at(table, (categories.cpu().numpy(), labels.cpu().numpy()), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    meant = torch.full((len(table),), -1)
    meant[torch.from_numpy(rows)] = torch.from_numpy(columns)
    return meant[categories.cpu()].eq(labels.cpu()).double()


def agreement(categories: Tensor, labels: Tensor) -> tuple[float, float]:
    """The adjusted Rand index and the normalised mutual information of two partitions, (n,) and (n,) whole numbers.

    >>> agreement(torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 2, 2]))
    (1.0, 1.0)
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    both = labels.cpu().numpy(), categories.cpu().numpy()
    return float(adjusted_rand_score(*both)), float(normalized_mutual_info_score(*both))


def cluster_accuracies(case: Case) -> Iterator[Measure]:
    """Of pairs with ``category_probs``, or topics and shares of them, ``num_clusters``, and on data with labels
    ``cluster_accuracy``, ``adjusted_rand`` and ``normalised_mutual_information``."""
    every = _most_probable(case)
    if every is None:
        return
    data = f"{len(every):,} {case.split} data"
    meaning = f"how many categories are the most probable one of some of {data}"
    yield Measure("num_clusters", float(len(every.unique())), None, meaning)
    if (labels := known_labels(case)) is None:
        return
    found, y = every[labels >= 0], labels[labels >= 0]
    meaning = (
        f"share of {len(y):,} {case.split} data whose most probable category is the one that stands for their label, "
        "each category for one class at most; 1 is none wrong"
    )
    yield Measure("cluster_accuracy", *mean_and_error(matched(found, y)), meaning)
    rand, information = agreement(found, y)
    data = f"of {len(y):,} {case.split} data"
    meaning = f"pairs of data together in categories and labels, above chance: 1 for the same parts, {data}"
    yield Measure("adjusted_rand", rand, None, meaning)
    meaning = f"information between category and label over the mean of their entropies, in [0, 1], {data}"
    yield Measure("normalised_mutual_information", information, None, meaning)


def _most_probable(case: Case) -> Tensor | None:
    """The most probable category of each datum, (n,); None of a pair without categories."""
    category_probs = getattr(case.pair, "category_probs", None)
    if not callable(category_probs):
        shares = document_shares(case.pair, case.batch)
        return None if shares is None else shares.argmax(-1)
    with torch.no_grad(), in_evaluation(case.pair):
        return torch.cat([category_probs(part).argmax(-1) for part in case.batch[0].split(_ROWS)])
