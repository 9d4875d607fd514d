"""The classifier two-sample test: can a classifier that learnt on one half tell samples from data in the other?

    accuracy a = the share of held-out points, n of samples and data in equal parts, that it tells rightly

Where samples and data are of one distribution each held-out point is told rightly with probability 1/2, whatever the
classifier learnt: n a is Binomial(n, 1/2), and the p-value its upper tail at what was found, exact for every n. Where
they are not, a - 1/2 is a lower bound of half their total variation distance, but for its error, as good as the
classifier is: the best of all is told rightly with probability 1/2 + TV / 2.

The classifier is scikit-learn's: k nearest neighbours (the paper's, with k the root of how many learnt), or a logistic
regression, whose weights say what it tells them by.

Revisiting Classifier Two-Sample Tests, Lopez-Paz and Oquab, 2017, sections 2 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ppgen.arguments import one_of
from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.evaluation.result import Measure
from ppgen.pairs.rows import num_rows

__all__ = ["ClassifierTest", "classified", "classifier_two_sample_test"]

_MOST = 2000
"""Points of each side."""

CLASSIFIERS = ("neighbours", "logistic")


@dataclass(frozen=True)
class ClassifierTest:
    """The accuracy on the held-out half, its standard error, the p-value of p = q, and how many were held out.

    >>> x = torch.linspace(0, 1, 40)[:, None]
    >>> apart = classifier_two_sample_test(x, x + 5)
    >>> apart.accuracy, apart.num_held_out, apart.p_value == 2**-40
    (1.0, 40, True)
    """

    accuracy: float
    standard_error: float
    p_value: float
    num_held_out: int


def classifier_two_sample_test(
    x: Tensor, y: Tensor, *, classifier: Literal["neighbours", "logistic"] = "neighbours", seed: int = 0
) -> ClassifierTest:
    """Test whether ``x`` (n, D) and ``y`` (m, D) come from one distribution; of the larger a random part is taken.

    Args:
        x: independent draws of p.
        y: independent draws of q.
        classifier: ``"neighbours"`` or ``"logistic"``.
        seed: of the halves; the global random state is left as it was.

    Raises:
        UsageError: fewer than 4 points on a side, sides of different sizes D, numbers that are not finite, or another
            name of a classifier.
    """
    from scipy.stats import binomtest

    one_of("expected the name of a classifier, got", classifier, CLASSIFIERS)
    _check(x, y)
    random = np.random.RandomState(seed)
    num = min(len(x), len(y))
    sides = [part.detach().cpu().double().numpy()[random.permutation(len(part))[:num]] for part in (x, y)]
    learnt, held_out = ([side[part] for side in sides] for part in (slice(num // 2), slice(num // 2, num)))
    found = _classifier(classifier, 2 * (num // 2)).fit(*_labelled(learnt))
    right = found.predict(np.concatenate(held_out)) == _labelled(held_out)[1]
    accuracy, total = float(right.mean()), len(right)
    p_value = binomtest(int(right.sum()), total, alternative="greater").pvalue
    return ClassifierTest(accuracy, math.sqrt(accuracy * (1 - accuracy) / total), float(p_value), total)


def classified(case: Case) -> Iterator[Measure]:
    """How well a classifier tells samples of the pair from data of the split."""
    if case.num_samples < 4 or num_rows(case.batch) < 4:
        return
    rows = torch.randperm(num_rows(case.batch))[:_MOST].to(case.batch[0].device)
    found = classifier_two_sample_test(case.samples[:_MOST], case.batch[0][rows], seed=case.seed)
    yield Measure(
        "classifier_accuracy",
        found.accuracy,
        found.standard_error,
        f"share of {found.num_held_out:,} held-out samples and {case.split} data that nearest neighbours tell apart; "
        f"0.5 where they are alike, p-value {found.p_value:.2g}",
    )


def _classifier(name: str, num: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if name == "neighbours":
        return KNeighborsClassifier(max(1, math.isqrt(num)) | 1)  # an odd number: no ties
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _labelled(sides: list[Any]) -> tuple[Any, Any]:
    return np.concatenate(sides), np.repeat([0, 1], [len(side) for side in sides])


def _check(x: Tensor, y: Tensor) -> None:
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 4:
        raise UsageError(
            "a classifier two-sample test expects x (n, D) and y (m, D) of at least 4 points each, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}."
        )
    if not bool(x.isfinite().all()) or not bool(y.isfinite().all()):
        raise UsageError("a point of a two-sample test is not finite: look at the model that it was drawn from.")
