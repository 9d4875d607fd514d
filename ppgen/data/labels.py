"""Labels of a few: which training rows keep theirs, for learning from many data without labels and few with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppgen.arguments import at_most
from ppgen.data.assemble import Part, permutation
from ppgen.data.validate import UNKNOWN_LABEL
from ppgen.errors import UsageError, setting, shown

__all__ = ["labelled_rows", "with_few_labels"]


def with_few_labels(part: Part, labels: bool, num_labelled: int | None, label_seed: int, label_copies: int) -> Part:
    """``part`` with labels of so many rows, each class as often; those of the others are -1: not known.

    Args:
        part: training rows, (x, y).
        labels: whether labels were asked for.
        num_labelled: how many keep their label; None: all, and nothing is changed.
        label_seed: of the choice.
        label_copies: how often a labelled row stands in the data, its copies at the end, so that minibatches hold
            some; a bound that sums over data weighs them so.

    Raises:
        UsageError: there are no labels, or fewer rows than are to keep theirs.
    """
    if num_labelled is None:
        return part
    if part.y is None or not labels:
        asked = setting("D", "labels", True)
        raise UsageError(f"num_labelled={shown(num_labelled)} chooses labels that are kept: ask for them, {asked}.")
    at_most("num_labelled", num_labelled, len(part.y))
    kept = labelled_rows(part.y, num_labelled, label_seed)
    y = np.full_like(part.y, UNKNOWN_LABEL, dtype=np.int64)
    y[kept] = part.y[kept]
    rows = np.concatenate([np.arange(len(y)), *[kept] * (label_copies - 1)])
    return Part(part.x, y)[rows] if label_copies > 1 else Part(part.x, y)


def labelled_rows(y: NDArray[Any], num: int, seed: int) -> NDArray[np.intp]:
    """``num`` rows, of each class as many as of any other, but for one, as long as there are such; (num,), sorted."""
    order = permutation(len(y), seed)
    rank = np.empty(len(y), dtype=np.intp)  # how many of its class come before a row
    for label in np.unique(y):
        rank[order[y[order] == label]] = np.arange(np.count_nonzero(y == label))
    return np.sort(np.lexsort((y, rank))[:num])
