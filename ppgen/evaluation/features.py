"""Features of labelled data: what the guide says of each datum, without its label, beside the label.

The features are those of :func:`ppgen.draws.embedding.embedding`, the means of a datum's latents, (F,). A guide that is
given labels must not hand them on: where a pair takes x alone, it is given x alone; where it does not, the features are
those of the guide's mixture over all labels, equally likely,

    (1 / C) sum_y E_q[z | x, y],

which knows no more of a datum than x. What is learned from features is learned from training data, and judged on data
that were held out.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.data import Dataset, load_data
from ppgen.draws.embedding import embedding
from ppgen.errors import UsageError, shown
from ppgen.evaluation.case import Case
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.pair import Pair
from ppgen.pairs.rows import num_rows, take_rows
from ppgen.pairs.tracing import Batch

__all__ = ["ROWS", "LabelledFeatures", "features_of", "known_labels", "labelled_data", "labelled_features"]

ROWS = 10_000
"""Training data, and data held out, whose features are taken, at most; drawn at random where there are more."""

_DRAWS = 10
"""Of the guide, where a mean is not known at once."""


@dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """``train`` (N, F) with labels ``train_labels`` (N,), and those of data held out, (n, F) and (n,); all on the CPU.

    ``codes``: whether the sign of each feature is a bit, and these are a code.
    """

    train: Tensor
    train_labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor
    codes: bool = False


def labelled_data(data: Dataset, asked: bool | None) -> Dataset | None:
    """The same data with their labels.

    Args:
        data: with labels or without.
        asked: True: of data that come without, those that their loader has are loaded; None: only the data's own;
            False: none.

    Raises:
        UsageError: labels were asked for, and there are none.
    """
    if data.spec.num_classes is not None:
        return None if asked is False else data
    if not asked:
        return None
    name = data.config.get("name")
    if name is None:
        raise UsageError(
            f"labels were asked for, and data {shown(data.spec.name)} are tensors without, of which no loader knows "
            "more: leave labels out, or load the data by a name that has labels."
        )
    return load_data(name, **{**data.config["options"], "labels": True})


def known_labels(case: Case) -> Tensor | None:
    """The labels of a case's data, (n,), -1 where one is unknown; None: there are none, or not one is known.

    Raises:
        UsageError: the labels are those of other data.
    """
    if case.labelled is None:
        return None
    rows = torch.arange(num_rows(case.batch), device=case.batch[0].device)
    labels = _labels(case, case.split, rows, case.dataset.rows(case.split, rows))
    return labels if bool((labels >= 0).any()) else None


def labelled_features(case: Case) -> LabelledFeatures | None:
    """The features of a case's data and of its training data, with the labels that are known.

    None where there are none: without labels, without data held out from training, or of a pair that has no latents of
    a datum, or whose data go together.

    Raises:
        UsageError: a feature is not finite, or the labels are those of other data.
    """
    labelled, pair = case.labelled, case.pair
    if labelled is None or case.split == "train" or not pair.has_weights:
        return None
    if not case.divisible or not case.local_latents:
        return None
    kept = torch.randperm(case.dataset.size("train"))[:ROWS], torch.randperm(num_rows(case.batch))[:ROWS]
    rows = [index.to(case.batch[0].device) for index in kept]
    batches = case.dataset.rows("train", rows[0]), take_rows(case.batch, rows[1])
    labels = [_labels(case, *of) for of in zip(("train", case.split), rows, batches, strict=True)]
    found = [
        features_of(pair, take_rows(case.dataset.draw(batch), y >= 0), case.dataset.spec.num_classes, seed=case.seed)
        for batch, y in zip(batches, labels, strict=True)
    ]
    train, held_out = (y[y >= 0].cpu() for y in labels)
    if not len(train) or not len(held_out):
        return None
    return LabelledFeatures(found[0], train, found[1], held_out, bool(getattr(pair, "binary_codes", False)))


def features_of(pair: Pair, batch: Batch, num_classes: int | None, *, seed: int = 0) -> Tensor:
    """The means of each datum's latents, given x and no label: (B, F), float64, on the CPU.

    Args:
        pair: with latents of a datum.
        batch: ``(x,)``, or ``(x, y, ...)`` with labels y where there are classes.
        num_classes: C; None: the batch has no labels.
        seed: seeds the draws of the guide.

    Raises:
        UsageError: a feature is not finite.
    """
    each = [batch] if num_classes is None else _without_label(pair, batch, num_classes)
    values = [embedding(pair, one, num_particles=_DRAWS, seed=seed).values.double().cpu() for one in each]
    mean = (_shares(pair, batch, len(each)) * torch.stack(values)).sum(0)  # (B, F)
    if not bool(mean.isfinite().all()):
        datum = int((~mean.isfinite()).any(1).nonzero()[0])
        raise UsageError(
            f"the features of data are the means of their latents, and that of datum {datum} is not finite: look at "
            "the guide's output for that datum."
        )
    return mean


def _shares(pair: Pair, batch: Batch, num: int) -> Tensor:
    """Of the labels that are put in, p(y | x) where an energy-based pair has it, else equal ones: (num, B or 1, 1)."""
    if num > 1 and isinstance(pair, EnergyPair):
        with torch.no_grad():
            told: Tensor = pair.classify(batch[0]).T.unsqueeze(-1)  # it has labels
        return told.double().cpu()
    return torch.full((num, 1, 1), 1 / num, dtype=torch.float64)


def _without_label(pair: Pair, batch: Batch, num_classes: int) -> Sequence[Batch]:
    """x alone, where the label may be left out; else the batch under every label."""
    x, y, *rest = batch
    parameters = [*inspect.signature(pair.guide).parameters.values()]
    needed = isinstance(pair, EnergyPair) and getattr(pair, "num_classes", None) is not None
    if not needed and not rest and len(parameters) > 1 and parameters[1].default is not inspect.Parameter.empty:
        return [(x,)]
    return [(x, torch.full_like(y, label), *rest) for label in range(num_classes)]


def _labels(case: Case, split: str, rows: Tensor, batch: Batch) -> Tensor:
    """The labels at those rows of a split, which hold the same data as the batch, but for what is drawn anew."""
    assert case.labelled is not None  # the caller has looked
    if case.labelled is not case.data:
        found = case.labelled.rows(split, rows) if case.labelled.size(split) == case.dataset.size(split) else ()
        if not found or not torch.equal(found[0], case.dataset.rows(split, rows)[0]):
            raise UsageError(
                f"labels of data {shown(case.dataset.spec.name)} were asked for, and those that come with labels are "
                "other data: leave labels out."
            )
        batch = found
    labels: Tensor = batch[1]
    return labels
