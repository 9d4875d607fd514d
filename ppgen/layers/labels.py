"""Labels as a part of what a pair models: how many classes there are, and the one-hot of a batch's."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from pyro.poutine.util import is_validation_enabled
from torch import Tensor

from ppgen.data import DataSpec
from ppgen.errors import UsageError, setting, shown
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.rows import x_of
from ppgen.pairs.running import Batch

__all__ = [
    "Labelled",
    "beside_label",
    "check_classes",
    "check_labels",
    "check_told",
    "classes_of",
    "classes_of_all",
    "one_hot",
    "relabelled",
    "with_one_hot",
]


def classes_of(spec: DataSpec, needed_by: str) -> int:
    """C, of data with labels.

    Raises:
        UsageError: they have none.
    """
    if spec.num_classes is None:
        raise UsageError(
            f"{needed_by} needs the number of classes, but data {shown(spec.name)} come without labels: load them with "
            f"{setting('D', 'labels', True)}, or a table with {setting('D', 'target', 'NAME')} and, of a target of "
            f"numbers, {setting('D', 'categorical', True)}."
        )
    return spec.num_classes


def classes_of_all(spec: DataSpec, needed_by: str, otherwise: str) -> int:
    """C, of data that all have a label; ``otherwise``: a model for those of which some have none.

    Raises:
        UsageError: they have none, or not all.
    """
    num_classes = classes_of(spec, needed_by)
    if spec.num_labelled is not None:
        raise UsageError(
            f"{needed_by} needs every label, and {spec.num_labelled} of data {shown(spec.name)} have one: load them "
            f"without num_labelled, or choose {otherwise}."
        )
    return num_classes


def check_labels(batch: Batch, num_classes: int, needed_by: str) -> None:
    """Whether a batch (x, y) has a label for each datum.

    Raises:
        UsageError: it has none, or one that is no class.
    """
    y: Any = batch[1] if len(batch) > 1 else None
    if not torch.is_tensor(y) or y.shape != batch[0].shape[:1] or y.is_floating_point():
        got = f"{tuple(y.shape)} of {y.dtype}" if torch.is_tensor(y) else "none"
        raise UsageError(
            f"{needed_by} takes batches (x, y) with labels y of shape (B,), whole numbers, got {got}: load the data "
            "with labels=True, or make the pair without labels."
        )
    bad = (y < 0) | (y >= num_classes)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise UsageError(
            f"{needed_by} takes labels 0 to {num_classes - 1}, got {int(y[row])} in row {row}: give all data a label."
        )


def check_classes(y: Tensor, num_classes: int, needed_by: str) -> None:
    """Whether each class has a datum among those of labels y, (N,).

    Raises:
        UsageError: one has none.
    """
    empty = torch.bincount(y[y >= 0], minlength=num_classes) == 0
    if bool(empty.any()):
        raise UsageError(
            f"class {int(empty.nonzero()[0])} of {num_classes} is left without data, of which {needed_by} could learn: "
            "give each class a datum with its label, or number the classes that there are from 0."
        )


def check_told(batch: Batch, num_classes: int, needed_by: str) -> None:
    """:func:`check_labels`, as Pyro's distributions check theirs: values while its validation is on alone.

    Raises:
        UsageError: the batch has no y; while Pyro's validation is on, a label is none of the classes.
    """
    if len(batch) < 2 or batch[1] is None or is_validation_enabled():
        check_labels(batch, num_classes, needed_by)


def one_hot(y: Tensor, num_classes: int, like: Tensor) -> Tensor:
    """(B,) -> (B, C), of the type of ``like``; torch's own reads values, and cannot be traced."""
    return torch.eye(num_classes, dtype=like.dtype, device=like.device)[y]


def beside_label(values: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """Numbers of each datum and the one-hot of its label side by side, (..., B, F) and (B,) -> (..., B, F + C)."""
    label = one_hot(y, num_classes, values)  # (B, C)
    return torch.cat([values, label.expand(*values.shape[:-1], -1)], -1)


def relabelled(s: Tensor, batch: Batch, num_classes: int | None) -> Tensor:
    """States (M, S) that end with a one-hot, (C,), with those of a batch's labels; as they are without labels."""
    if num_classes is None or len(batch) < 2:
        return s
    y = batch[1][torch.arange(len(s), device=s.device) % len(batch[1])]
    return torch.cat([s[:, :-num_classes], one_hot(y, num_classes, s)], -1)


class Labelled(EnergyPair):
    """An energy-based pair whose data may have labels, ``num_classes`` (C) of them; None: they have none.

    A datum is then x beside the one-hot of y, (..., D + C); one without its label, (..., D), is known by its width.
    """

    num_classes: int | None = None

    @abstractmethod
    def label_log_probs(self, x: Tensor) -> Tensor:
        """log p(y | x), (..., D) -> (..., C), in nats.

        Raises:
            UsageError: the pair has no labels.
        """

    def classify(self, x: Tensor) -> Tensor:
        """p(y | x), (..., D) -> (..., C); see :meth:`label_log_probs`."""
        return self.label_log_probs(x).exp()

    def datum(self, batch: Batch) -> Tensor:
        if self.num_classes is None:
            return super().datum(batch)
        return with_one_hot(batch, self.num_classes, f"{type(self).__name__} with labels")


def with_one_hot(batch: Batch, num_classes: int, needed_by: str) -> Tensor:
    """x and the one-hot of y side by side, (B, D + C).

    Raises:
        UsageError: the batch has no y; while Pyro's validation is on, a label is none of the classes.
    """
    x = x_of(batch, needed_by)
    check_told(batch, num_classes, needed_by)
    return torch.cat([x, one_hot(batch[1], num_classes, x)], -1)
