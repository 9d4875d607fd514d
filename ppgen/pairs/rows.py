"""The data among the arguments of a model: its tensors whose leading size is that of the first.

A batch is what a model is called with. Numbers, None, lists, packed sequences, tensors of other leading sizes are not
data: they are passed on as they are, and a batch whose data they may hold in part is never divided.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ppgen.errors import UsageError

__all__ = [
    "first_data",
    "in_turn",
    "is_data",
    "is_divisible",
    "like_data",
    "num_rows",
    "rows_or_all",
    "source_of",
    "take_rows",
    "x_of",
]


def first_data(batch: tuple[Any, ...]) -> Tensor | None:
    """The first tensor with rows; None: there is none."""
    return next((part for part in batch if _has_rows(part)), None)


def like_data(batch: tuple[Any, ...]) -> Tensor:
    """A floating-point tensor of the data's type and device; of torch's default type where the data have none."""
    found = (part for part in batch if torch.is_tensor(part) and torch.is_floating_point(part))
    return next(found, torch.zeros(()))


def x_of(batch: tuple[Any, ...], needed_by: str) -> Tensor:
    """x, the first argument.

    Raises:
        UsageError: it is no tensor with rows.
    """
    if not batch or not torch.is_tensor(batch[0]) or not batch[0].dim():
        got = f"{type(batch[0]).__name__} there" if batch else "no argument"
        raise UsageError(
            f"{needed_by} reads x, the first argument of the model, and expects a tensor with a row for each datum, "
            f"got {got}: give x first, or choose an objective that reads log-weights, such as 'elbo'."
        )
    return batch[0]


def source_of(batch: tuple[Any, ...], needed_by: str) -> Tensor:
    """s of a batch (x, s), what x is made of, (B, ...), floating-point.

    Raises:
        UsageError: there is none: the batch is x alone, or holds labels.
    """
    x = x_of(batch, needed_by)
    s = batch[1] if len(batch) > 1 else None
    if not torch.is_tensor(s) or len(batch) > 2 or not is_data(s, len(x)) or not s.is_floating_point():
        got = f"{len(batch)} arguments" if len(batch) > 2 else "x alone" if s is None else "no such vectors"
        if torch.is_tensor(s) and s.shape == (len(x),):
            got = "labels"
        raise UsageError(
            f"{needed_by} takes batches (x, s), s the source that x is made of, a floating-point vector each, "
            f"got {got}: give two sets of vectors, ppgen.data.translation_data(source, target), or choose an objective "
            "without sources, such as 'nonsaturating'."
        )
    return s


def num_rows(batch: tuple[Any, ...]) -> int:
    """How many data a batch holds; 1 where no tensor has rows: then it is one datum.

    >>> num_rows((0.5, torch.zeros(7, 2), None))
    7
    """
    first = first_data(batch)
    return 1 if first is None else len(first)


def is_data(part: Any, size: int) -> bool:
    """Whether an argument has one row for each of ``size`` data."""
    return _has_rows(part) and len(part) == size


def is_divisible(batch: tuple[Any, ...], size: int) -> bool:
    """Whether a part of the ``size`` data can be given alone: some argument has their rows, and no other hides any."""
    hidden = any(isinstance(part, PackedSequence) or _is_list_of(part, size) for part in batch)
    return not hidden and any(is_data(part, size) for part in batch)


def take_rows(batch: tuple[Any, ...], rows: Any) -> tuple[Any, ...]:
    """The batch with the data at ``rows`` (a slice, an index, a mask); what is no data is as it was.

    >>> take_rows((torch.arange(4), "name"), slice(2))
    (tensor([0, 1]), 'name')
    """
    size = num_rows(batch)
    return tuple(_taken(part, rows) if is_data(part, size) else part for part in batch)


def in_turn(batch: tuple[Any, ...], num: int) -> tuple[Any, ...]:
    """``num`` data: those of the batch, and again from the first.

    Raises:
        UsageError: no argument has rows, or another hides some (a list, a packed sequence).
    """
    first = first_data(batch)
    if first is None or not is_divisible(batch, len(first)):
        raise UsageError(
            "data are to be drawn one for each row, and the model's arguments are not all tensors with rows: give "
            "such tensors, or draw by hand with pyro.infer.Predictive."
        )
    return take_rows(batch, torch.arange(num, device=first.device) % len(first))


def rows_or_all(batch: tuple[Any, ...], rows: slice) -> tuple[Any, ...]:
    """The batch with the data at ``rows``; the whole batch where a part of it cannot be given alone."""
    return take_rows(batch, rows) if is_divisible(batch, num_rows(batch)) else batch


def _taken(part: Any, rows: Any) -> Any:
    return part[rows.to(part.device)] if torch.is_tensor(rows) and torch.is_tensor(part) else part[rows]


def _has_rows(part: Any) -> bool:
    return not isinstance(part, str) and bool(getattr(part, "shape", ()))


def _is_list_of(part: Any, size: int) -> bool:
    return isinstance(part, list | tuple | dict) and not isinstance(part, PackedSequence) and len(part) == size > 1
