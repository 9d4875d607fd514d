"""Accuracy: how often the class that a pair holds the most probable is the label.

    accuracy = (1 / n) sum_i 1[ argmax_y q(y | x_i) = label_i ]

over the n data whose label is known, by the pair's ``classify(x)``, the probabilities q(y | x), (B, D) to (B, C). The
test error of the literature is one less the accuracy, in percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Measure
from ppgen.pairs.parameters import in_evaluation

__all__ = ["accuracies", "hits"]

_ROWS = 1000
"""Data classified at a time."""


@torch.no_grad()
def hits(classify: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Whether each datum's most probable class is its label, (n,) of 0 and 1 in float64; unknown labels are left out.

    Raises:
        UsageError: no label is known.

    >>> hits(lambda x: x.softmax(-1), torch.eye(3), torch.tensor([0, 2, -1]))
    tensor([1., 0.], dtype=torch.float64)
    """
    known = y >= 0
    if not bool(known.any()):
        raise UsageError("accuracy needs labels, and none of the data has one: choose a split that has.")
    x, y = x[known], y[known]
    return torch.cat([classify(part).argmax(-1) for part in x.split(_ROWS)]).eq(y).double()


def accuracies(case: Case) -> Iterator[Measure]:
    """``accuracy`` of pairs that classify, on data with labels."""
    classify = getattr(case.pair, "classify", None)
    if not callable(classify) or None in (case.dataset.spec.num_classes, getattr(case.pair, "num_classes", 0)):
        return
    with in_evaluation(case.pair):
        found = hits(classify, *case.batch[:2])
    meaning = f"share of {len(found):,} {case.split} data whose most probable class is their label; 1 is none wrong"
    yield Measure("accuracy", *mean_and_error(found), meaning)
