"""What people have data in, as tensors of the same shape and type: arrays, frames, data sets of torch's, files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate
from torch.utils.data import Dataset as TorchDataset

from ppgen.data.dataset import SPLITS, Split
from ppgen.data.disk_files import on_disk, rows_of_memmap
from ppgen.data.disk_rows import DiskRows
from ppgen.data.formats import read_arrays, read_csv
from ppgen.data.rows import Rows
from ppgen.data.sparse import SparseRows, is_sparse, native
from ppgen.errors import UsageError, shown

__all__ = ["entries_of", "named_splits", "opened", "opened_alone", "rows_of", "tensors_of"]


def tensors_of(where: str, given: Any) -> Split:
    """(x,), (x, y) or more, each with one row a datum, in the shape and the type that they are given in.

    Args:
        where: the split's name, for errors.
        given: a tuple of tensors or arrays, or one of them, or a dict of them, in its order; a frame or series of
            pandas; a map-style data set of torch's, read once, whose items are tensors or tuples of tensors; a
            ``np.memmap``, or what :func:`ppgen.data.on_disk` gives, which stay in their files; the path of a file, as
            :func:`opened` opens it. Lists of Python's numbers are in torch's default type.

    Raises:
        UsageError: it is none of these, or holds no numbers.
    """
    if isinstance(given, str | Path):
        return tensors_of(f"{where} in {given}", opened(where, given))
    return tuple(_rows(where, entry) for entry in entries_of(where, given))


def named_splits(train: Any, valid: Any, test: Any) -> dict[str, Any]:
    """The splits that were given, by name; ``train`` may be a dict of all of them.

    Raises:
        UsageError: a split is given twice.
    """
    whole = isinstance(train, Mapping) and "train" in train and set(train) <= set(SPLITS)
    given = dict(train) if whole else {"train": train}
    for split, part in (("valid", valid), ("test", test)):
        if part is not None and given.get(split) is not None:
            raise UsageError(f"{split} was given twice, alone and beside train: give it once.")
        given |= {} if part is None else {split: part}
    return {split: part for split, part in given.items() if part is not None or split == "train"}


def entries_of(where: str, given: Any) -> tuple[Any, ...]:
    """The entries of a batch, as they are: those of a tuple, a dict, a data set of torch's; else the one thing itself.

    Raises:
        UsageError: it is empty; a data set of torch's cannot be read in any order, or its items cannot be stacked.
    """
    entries = given if isinstance(given, tuple) else (given,)
    if isinstance(given, TensorDataset):
        entries = given.tensors
    elif isinstance(given, TorchDataset | DataLoader):
        entries = _of_items(where, given)
    elif isinstance(given, Mapping):
        entries = tuple(given.values())
    if not entries:
        raise UsageError(f"{where} is an empty {type(given).__name__}: give x or (x, y).")
    return entries


def opened(where: str, given: Any) -> Any:
    """What is at a path: of a ``.csv`` file the frame, of a ``.npz`` archive a dict of its arrays in their order, or
    the sparse matrix that SciPy wrote, of a ``.npy`` file or a folder of such shards the rows, which stay there
    (:func:`ppgen.data.on_disk`). What is no path is given back.

    Raises:
        UsageError: there is no such file, or it is not what its name says.
    """
    if not isinstance(given, str | Path):
        return given
    path = Path(given)
    readers: dict[str, Callable[[Path], Any]] = {".csv": read_csv, ".npz": read_arrays, ".npy": on_disk}
    if os.path.isdir(path):
        return on_disk(path)
    if path.suffix not in readers or not os.path.isfile(path):  # pathlib raises for names that are too long
        raise UsageError(
            f"{where} must be data, or the path of a .csv or .npz file that exists, got {shown(str(path))}: name "
            "such a file, a .npy file or a folder of these, or load a registered data set with ppgen.load_data."
        )
    return readers[path.suffix](path)


def _of_items(where: str, given: Any) -> tuple[Any, ...]:
    """Every item of a map-style data set, read once, as torch's loader would stack them."""
    if isinstance(given, IterableDataset | DataLoader) or not hasattr(given, "__len__"):
        remedy = "give its .dataset" if isinstance(given, DataLoader) else "give one with __len__ and __getitem__"
        raise UsageError(
            f"{where} must be a map-style torch.utils.data.Dataset, whose items can be counted and read in any order, "
            f"got {type(given).__name__}: {remedy}."
        )
    items = [given[index] for index in range(len(given))]
    _refuse_masks(where, items)
    try:
        stacked = default_collate(items)
    except (TypeError, RuntimeError, IndexError) as error:
        raise UsageError(
            f"the items of {where} ({type(given).__name__}) must be tensors, or tuples of tensors, all of one shape, "
            f"and cannot be stacked ({error})."
        ) from error
    return tuple(stacked) if isinstance(stacked, list) else (stacked,)


def _rows(where: str, values: Any) -> Rows:
    values = opened_alone(where, values)
    if is_sparse(values):
        return SparseRows.of(values, where=where, keep_type=True)
    rows = rows_of(where, values)
    if isinstance(rows, Tensor) and not rows.ndim:
        raise UsageError(f"{where} must be tensors with one row a datum, got the number {rows.item()}.")
    return rows


def opened_alone(where: str, values: Any) -> Any:
    """What :func:`opened` gives, where it is one entry of a batch.

    Raises:
        UsageError: as there, or the file holds several arrays.
    """
    found = opened(where, values)
    if found is values or not isinstance(found, Mapping):
        return found
    if len(found) != 1:
        raise UsageError(f"{values} holds {len(found)} arrays, and stands for one entry of {where}: give it alone.")
    return next(iter(found.values()))


def rows_of(where: str, values: Any) -> Tensor | DiskRows:
    """Rows that stay in their file; else a tensor's values, an array's, a frame's or a list's, in the type that they
    are given in.

    Raises:
        UsageError: it is none of these, or holds no numbers, or a mask.
    """
    rows = rows_of_memmap(where, values) if isinstance(values, np.memmap) else values
    return rows if isinstance(rows, DiskRows) else _tensor(where, values)


def _tensor(where: str, values: Any) -> Tensor:
    if isinstance(values, Tensor):
        if values.layout != torch.strided or values.is_nested or values.is_meta or values.is_quantized:
            raise UsageError(
                f"{where} must be a dense or sparse tensor of numbers, and is nested, quantized or without numbers "
                f"({values.layout}, {values.dtype} on {values.device}): make it dense."
            )
        return values.clone() if values.is_inference() else values.detach()  # an inference tensor has no gradients
    _refuse_masks(where, values)
    if isinstance(values, dict):
        raise UsageError(
            f"{where} must be a tensor or a tuple of tensors, got a dict of {', '.join(map(repr, values))}."
        )
    pandas = sys.modules.get("pandas")  # who has a frame has imported it
    if pandas is not None and isinstance(values, pandas.Series):
        return _of_frame(where, values.to_frame())[:, 0]
    if pandas is not None and isinstance(values, pandas.DataFrame):
        return _of_frame(where, values)
    return _of_list(where, values) if isinstance(values, list) else _of_array(where, values)


def _refuse_masks(where: str, values: Any) -> None:
    if any(issubclass(kind, np.ma.MaskedArray) for kind in _types_in(values)):
        raise UsageError(
            f"{where} is a masked array, whose mask a tensor would lose: fill it in, x.filled(0.0), and give the mask "
            "beside it, (x, mask)."
        )


def _types_in(values: Any) -> set[type]:
    """The types of what nested lists and tuples hold."""
    if not isinstance(values, list | tuple):
        return {type(values)}
    found = set(map(type, values))
    nested = (entry for entry in values if isinstance(entry, list | tuple)) if found & {list, tuple} else ()
    return found.union(*map(_types_in, nested))


def _of_list(where: str, values: list[Any]) -> Tensor:
    """Python's numbers in torch's default type, as ``torch.tensor`` has them; arrays and tensors in their own."""
    plain = all(issubclass(kind, Number | list | tuple) for kind in _types_in(values))
    try:
        rows = torch.tensor(values) if plain else np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(f"{where} must be an array of numbers, got a list that is none: {error}.") from error
    return rows if isinstance(rows, Tensor) else _of_array(where, rows)


def _of_array(where: str, values: Any) -> Tensor:
    array: NDArray[Any] = np.asarray(values)
    try:
        return torch.from_numpy(np.array(array, dtype=native(array.dtype), order="C"))
    except TypeError as error:  # of text, of objects, of numbers that torch lacks
        what = type(values).__name__ if array.dtype.kind == "O" and not array.ndim else str(array.dtype)
        advice = "count the words of texts with ppgen.load_data('texts', file=[...])"
        raise UsageError(
            f"{where} must be an array of numbers, got {what}{f': {advice}' if array.dtype.kind == 'U' else ''}."
        ) from error


def _of_frame(where: str, frame: Any) -> Tensor:
    """(N, columns), in the one type that holds all columns."""
    from pandas.api.types import is_numeric_dtype

    text = [repr(str(name)) for name, kind in frame.dtypes.items() if not is_numeric_dtype(kind)]
    gaps = [repr(str(name)) for name, found in frame.isna().any().items() if found]
    for names, what in ((text, "hold no numbers"), (gaps, "have missing values")):
        if names:
            raise UsageError(
                f"{where} must have columns of numbers, and {', '.join(names)} {what}: turn them into numbers, or drop "
                "them."
            )
    if not len(frame.columns):
        raise UsageError(f"{where} must have columns of numbers, and the frame has none.")
    kinds = [getattr(kind, "numpy_dtype", kind) for kind in frame.dtypes]
    return torch.from_numpy(np.array(frame.to_numpy(dtype=np.result_type(*kinds)), order="C"))
