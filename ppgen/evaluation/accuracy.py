"""Accuracy: how often the class that a pair holds the most probable is the label.

    accuracy = (1 / n) sum_i 1[ argmax_y q(y | x_i) = label_i ]

over the n data whose label is known, by the pair's ``classify(x)``, the probabilities q(y | x), (B, D) to (B, C). The
test error of the literature is one less the accuracy, in percent.
"""

from __future__ import annotations

from collections.abc import Iterator

from ppgen.evaluation.case import Case
from ppgen.evaluation.judge import hits
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Measure
from ppgen.pairs.parameters import in_evaluation

__all__ = ["accuracies", "hits"]


def accuracies(case: Case) -> Iterator[Measure]:
    """``accuracy`` of pairs that classify, on data with labels."""
    classify = getattr(case.pair, "classify", None)
    if not callable(classify) or None in (case.dataset.spec.num_classes, getattr(case.pair, "num_classes", 0)):
        return
    with in_evaluation(case.pair):
        found = hits(classify, *case.batch[:2])
    meaning = f"share of {len(found):,} {case.split} data whose most probable class is their label; 1 is none wrong"
    yield Measure("accuracy", *mean_and_error(found), meaning)
