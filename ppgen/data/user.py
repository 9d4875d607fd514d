"""``dataset_from``: a data set of the user's own tensors or arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import Seed, checked
from ppgen.data.assemble import binarize_once, mean_length, permutation
from ppgen.data.dataset import Dataset, Split
from ppgen.data.disk_rows import DiskRows
from ppgen.data.rows import Rows, pieces, take
from ppgen.data.sources import opened, opened_alone, rows_of
from ppgen.data.sparse import SparseRows, is_sparse
from ppgen.data.spec import DataSpec, Observation
from ppgen.data.validate import check_split
from ppgen.errors import UsageError

__all__ = ["dataset_from"]


@checked
def dataset_from(
    train: Any,
    valid: Any = None,
    test: Any = None,
    *,
    observation: Observation | None = None,
    name: str = "user",
    image_shape: tuple[int, ...] | None = None,
    levels: int | None = None,
    num_classes: int | None = None,
    vocabulary: Any = None,
    dynamic: bool = False,
    held_out: float = 0.1,
    seed: Seed = 0,
) -> Dataset:
    """A data set of tensors or arrays of one's own.

    Args:
        train: x of shape (N, ...), a tensor or anything that NumPy makes an array of numbers of; or a tuple
            (x, y); or the path of a file of either (:func:`ppgen.data.as_dataset`). More than two dimensions are
            flattened to (N, D); (N, H, W) and (N, C, H, W) give ``image_shape``. Sparse matrices of SciPy and sparse
            tensors stay sparse. x is in torch's default type, and documents whose words it does not count exactly are
            refused. What is on disk (:func:`ppgen.data.on_disk`) stays there, and is cast when it is read.
        valid: the same; a seeded ``held_out`` share of ``train`` where it is None.
        test: the same.
        observation: the likelihood; None: ``"binary"`` where every x is 0 or 1, or the data is dynamic,
            ``"quantised"`` where ``levels`` is given, ``"counts"`` where train is sparse, ``"real"`` otherwise.
        vocabulary: the words that the columns of counts stand for, in their order.
        dynamic: x holds probabilities in [0, 1]; train is drawn anew at each presentation, valid and test
            once, to memory.
        held_out: the share of ``train``'s rows that becomes valid, and again test, where these are None.
        seed: seeds the permutation that splits, and of the one-time draws.

    Raises:
        UsageError: x has no rows of numbers, or a mask, or anything that :class:`Dataset` refuses.

    >>> data = dataset_from(torch.randn(100, 3))
    >>> data.spec.observation, len(data.train[0]), len(data.valid[0]), len(data.test[0])
    ('real', 80, 10, 10)
    """
    parts = {"train": train, "valid": valid, "test": test}
    shaped = {split: _tensors(split, part) for split, part in parts.items() if part is not None or split == "train"}
    shape = image_shape or _image_shape(shaped["train"][0])
    given = {split: _flat(part) for split, part in shaped.items()}
    splits = _hold_out(given, held_out, seed)
    if dynamic:
        splits |= {split: _drawn(split, splits[split], seed) for split in ("valid", "test")}
    x = splits["train"][0]
    mean = x.mean(0)
    observation = observation or _infer(x, levels, dynamic)
    spec = DataSpec(
        name,
        num_features=x.shape[1],
        observation=observation,
        image_shape=shape,
        levels=levels,
        num_classes=num_classes,
        num_data=len(x) or None,
        length=mean_length(mean) if observation == "counts" else None,
        mean=mean,
        vocabulary=_words(vocabulary),
    )
    for split, part in given.items():  # here rows have the numbers that the user knows them by
        check_split(split, part, spec, probabilities=dynamic)
    return Dataset(spec, splits["train"], splits["valid"], splits["test"], dynamic=dynamic)


def _tensors(split: str, part: Any) -> Split:
    """(x,) or (x, y): x in torch's default type with at least two dimensions, or sparse; y in int64 or that type."""
    part = opened(split, part)
    entries = part if isinstance(part, tuple) else (part,)
    if not entries:
        raise UsageError(f"{split} is an empty tuple: give x or (x, y).")
    x = _x(split, entries[0])
    rest = [_numbers(split, opened_alone(split, entry)) for entry in entries[1:]]
    if x.ndim < 2:
        raise UsageError(
            f"x in {split} must have rows, shape (N, num_features), got {tuple(x.shape)}: "
            "use x[:, None] for data with one feature."
        )
    lengths = [part.shape[0] if part.ndim else 0 for part in (x, *rest)]
    if len(set(lengths)) > 1:
        raise UsageError(f"the tensors in {split} must have the same number of rows, got {lengths}.")
    return (x, *(_floating(y) if y.is_floating_point() else y.to(torch.int64) for y in rest))


def _x(split: str, values: Any) -> Rows:
    values = opened_alone(split, values)
    return SparseRows.of(values, where=f"x in {split}") if is_sparse(values) else _floating(_numbers(split, values))


def _floating(values: Tensor | DiskRows) -> Tensor | DiskRows:
    return values.to(torch.get_default_dtype())


def _numbers(split: str, values: Any) -> Tensor | DiskRows:
    found = rows_of(split, values)
    if found.dtype.is_complex:
        raise UsageError(f"{split} must be an array of numbers, got {found.dtype}.")
    return found.contiguous() if isinstance(found, Tensor) else found


def _words(vocabulary: Any) -> Any:
    """Words in their order as a tuple; what has no order, or is one word, is left to be refused."""
    unordered = isinstance(vocabulary, str | Mapping) or not hasattr(vocabulary, "__getitem__")
    return vocabulary if unordered else tuple(vocabulary)


def _image_shape(x: Rows) -> tuple[int, ...] | None:
    return tuple(x.shape[1:]) if x.ndim in (3, 4) else None


def _flat(part: Split) -> Split:
    return part if part[0].ndim == 2 else (part[0].flatten(1), *part[1:])  # (N, D)


def _hold_out(splits: dict[str, Split], held_out: float, seed: int) -> dict[str, Split]:
    """Take what is missing of valid and test from the permuted rows of train."""
    wanted = [split for split in ("valid", "test") if split not in splits]
    n = len(splits["train"][0])
    if not wanted:
        return splits
    size = max(1, round(held_out * n)) if 0 < held_out < 1 else n
    if len(wanted) * size >= n:
        raise UsageError(
            f"cannot split {' and '.join(wanted)} of {size} rows off the {n} rows of train: "
            f"give {' and '.join(wanted)}, or a held_out between 0 and 1 that leaves rows to train "
            f"(got {held_out})."
        )
    order = torch.from_numpy(permutation(n, seed))
    pieces = torch.tensor_split(order, [size * (i + 1) for i in range(len(wanted))])
    rows = dict(zip([*wanted, "train"], pieces, strict=True))
    return splits | {split: tuple(take(part, index) for part in splits["train"]) for split, index in rows.items()}


def _drawn(split: str, part: tuple[Tensor, ...], seed: int) -> tuple[Tensor, ...]:
    x = binarize_once(part[0][:].cpu().numpy(), seed + 1 + (split == "test"))
    return (torch.from_numpy(x).to(part[0].device, part[0].dtype), *part[1:])


def _infer(x: Rows, levels: int | None, dynamic: bool) -> Observation:
    if levels is not None:
        return "quantised"
    if isinstance(x, SparseRows):
        return "counts"
    return "binary" if dynamic or all(_is_binary(piece) for _, piece in pieces(x)) else "real"


def _is_binary(x: Tensor) -> bool:
    return bool(((x == 0) | (x == 1)).all())
