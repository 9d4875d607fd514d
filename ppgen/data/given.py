"""``as_dataset``: the user's data as they are, for ``fit`` and for whatever else takes data."""

from __future__ import annotations

import dataclasses
from math import prod
from numbers import Number
from typing import Any

from ppgen.data.dataset import Dataset
from ppgen.data.sources import named_splits, tensors_of
from ppgen.data.spec import DataSpec
from ppgen.errors import UsageError

__all__ = ["as_dataset"]


def as_dataset(train: Any, valid: Any = None, test: Any = None, *, name: str = "user") -> Dataset:
    """Data as they are: no tensor changes its shape or type, and nothing is held out.

    The pair is called with what is given, ``model(x)``, ``model(x, y)``, and so on, a batch of rows at a time.

    Args:
        train: x or (x, y, ...): tensors or arrays with one row a datum, or a dict of them, in its order; a dict of the
            splits; a frame of pandas; a map-style data set of torch's, read once; the path of a ``.csv`` file, or of a
            ``.npz`` file, NumPy's or a sparse matrix of SciPy's, that unpacks to 1 GiB at most; the path of a ``.npy``
            file or of a folder of them, a ``np.memmap``, or what :func:`ppgen.data.on_disk` gives, which stay in their
            files; a :class:`Dataset`, which is given back. A list of several of these is one data set whose parts take
            turns in training: ``[(x, y), (x,)]``, labelled and unlabelled data; its parts bring held-out data of their
            own, if any.
        valid: the same, for early stopping and its record; None: there are none.
        test: the same, for evaluation; None: there are none.
        name: what it is called.

    Raises:
        UsageError: it is none of these; tensors with other numbers of rows, NaN, no rows (see :class:`Dataset`);
            held-out data of another kind than train's, or beside a train that brings its own.

    >>> import torch
    >>> data = as_dataset((torch.randn(7, 5, 3), torch.arange(7)))
    >>> data, data.spec.shape
    (data 'user': 7 to train, nothing held out, (5, 3))
    """
    splits = named_splits(train, valid, test)
    train, held_out = splits["train"], {split: part for split, part in splits.items() if split != "train"}
    if isinstance(train, Dataset) or _has_parts(train):
        if held_out:
            raise UsageError(
                f"{' and '.join(held_out)} were given beside data that bring their own: give them to each data set."
            )
        return train if isinstance(train, Dataset) else _alternating(train, name)
    given = {split: tensors_of(split, part) for split, part in {"train": train, **held_out}.items()}
    x = given["train"][0]
    shape = tuple(x.shape[1:])
    spec = DataSpec(name, num_features=prod(shape), observation="any", shape=shape, num_data=len(x) or None)
    return Dataset(spec, given["train"], given.get("valid", ()), given.get("test", ()))


def _has_parts(given: Any) -> bool:
    """Whether it is a list of data sets, not one of numbers or of rows of numbers."""
    return isinstance(given, list) and any(not _is_row(entry) for entry in given)


def _is_row(entry: Any) -> bool:
    plain = isinstance(entry, list) or (isinstance(entry, tuple) and all(isinstance(part, Number) for part in entry))
    return plain or isinstance(entry, Number)


def _alternating(given: list[Any], name: str) -> Dataset:
    sets = [as_dataset(part, name=name if len(given) == 1 else f"{name}[{index}]") for index, part in enumerate(given)]
    first, *others = (part for whole in sets for part in whole.parts)
    return dataclasses.replace(first, config={} if others else first.config, beside=tuple(others))
