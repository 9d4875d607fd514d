"""What a classifier says of samples: which classes they show, how evenly, whether as asked, and how far from data.

    classes covered     kinds that at least one sample shows (:class:`ppgen.evaluation.judge.Judge`); of stacked MNIST
                        those of three digits, a thousand
    reverse KL          sum_m h_m log(M h_m), h_m the share of samples of kind m among M                        (nats)
    label accuracy      the share of samples that show the label which they were asked for
    Frechet distance    of the classifier's last hidden layer at samples and at data (:mod:`ppgen.evaluation.frechet`)

Published counts on stacked MNIST are those of other classifiers, and of 26,000 samples; a perfect sampler has a reverse
KL of about (M - 1) / 2n above that of the data, which is stated beside it.

VEEGAN, Srivastava et al., 2017, and PacGAN, Lin et al., 2018, section 4.2 (the protocol of stacked MNIST).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ppgen.evaluation.case import Case
from ppgen.evaluation.frechet import frechet_distance
from ppgen.evaluation.judge import Judge
from ppgen.evaluation.modes import Coverage
from ppgen.evaluation.result import Measure
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.rows import num_rows

__all__ = ["division", "judged"]

_MOST = 10_000
"""Samples, and data, whose features are taken."""


def division(kinds: Tensor, num: int) -> Coverage:
    """How samples of ``kinds``, (n,), each 0..num - 1, divide among all of them.

    >>> found = division(torch.tensor([0, 0, 3, 3]), 4)
    >>> found.num_covered, round(found.reverse_kl, 4)  # log 2
    (2, 0.6931)
    """
    shares = torch.bincount(kinds, minlength=num).double() / len(kinds)
    return Coverage(kinds, torch.ones_like(kinds, dtype=torch.bool), shares)


def judged(case: Case) -> Iterator[Measure]:
    """What the case's classifier says of its samples, where it has one."""
    judge = case.judge
    if judge is None or not case.num_samples:
        return
    parts = judge.num_parts(case.dataset.spec)
    yield from _coverage(case, judge, parts)
    yield from _label_accuracy(case, judge, parts)
    if judge.has_features:
        yield _distance(case, judge, parts)


def _coverage(case: Case, judge: Judge, parts: int) -> Iterator[Measure]:
    total, num = judge.num_classes**parts, case.num_samples
    found, of_data = (division(judge.classes(x, parts), total) for x in (case.samples, case.batch[0]))
    yield Measure(
        "classes_covered",
        found.num_covered,
        None,
        f"of {total:,} kinds, those that one of {num:,} samples or more shows, by {judge.stated}; {case.split} data, "
        f"{num_rows(case.batch):,} of them, show {of_data.num_covered:,}",
    )
    yield Measure(
        "class_reverse_kl",
        found.reverse_kl,
        found.reverse_kl_error,
        f"nats from how {num:,} samples divide among kinds to an even division; {case.split} data have "
        f"{of_data.reverse_kl:.3g}",
    )


def _label_accuracy(case: Case, judge: Judge, parts: int) -> Iterator[Measure]:
    """Of pairs that are told the label of what they are to make, and do not draw or infer it themselves."""
    pair, classes = case.pair, case.dataset.spec.num_classes
    told = getattr(pair, "num_classes", None) and not (isinstance(pair, EnergyPair) or hasattr(pair, "classify"))
    if not told or classes != judge.num_classes**parts:
        return
    asked = case.batch[1][torch.arange(case.num_samples, device=case.batch[1].device) % num_rows(case.batch)]
    right = judge.classes(case.samples, parts).to(asked.device) == asked
    share = float(right.double().mean())
    yield Measure(
        "label_accuracy",
        share,
        math.sqrt(share * (1 - share) / len(right)),
        f"share of {len(right):,} samples that show the label they were asked for, by {judge.stated}",
    )


def _distance(case: Case, judge: Judge, parts: int) -> Measure:
    x, y = case.samples[:_MOST], case.batch[0][:_MOST]
    data = case.dataset.draw(case.dataset.rows("train", slice(len(x))))[0]
    of_samples, of_data, of_train = (judge.features(part, parts) for part in (x, y, data))
    return Measure(
        "frechet_distance",
        frechet_distance(of_samples, of_data),
        None,
        f"squared, of {len(x):,} samples and {len(y):,} {case.split} data in the last hidden layer of {judge.stated}; "
        f"it errs upward, and {len(data):,} training data have {frechet_distance(of_train, of_data):.3g}; no FID",
    )
