"""A data set: a description of one datum, and train, valid and test splits that live in memory as tensors."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from ppgen.data.modes import Modes
from ppgen.data.sparse import stored
from ppgen.data.spec import DataSpec
from ppgen.data.validate import check_split
from ppgen.errors import UsageError, nearest

__all__ = ["SPLITS", "Dataset", "Split"]

SPLITS = ("train", "valid", "test")

Split = tuple[Any, ...]
"""Tensors, but for x of counts, which may be a ``SparseRows``; not a union, which every user would have to narrow."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits of one kind of datum.

    Args:
        spec: what one datum is.
        train: (x,) or (x, y); x is (N, D), y is (N,) int64; x of counts may be sparse
            (:class:`ppgen.data.sparse.SparseRows`), and is dense wherever rows of it are taken.
        valid: the same, for early stopping.
        test: the same, touched once.
        dynamic: x of ``train`` holds probabilities, and each presentation draws 0 or 1 from them anew
            (:meth:`draw`); ``valid`` and ``test`` hold 0 and 1, drawn once.
        config: ``{"name": ..., "options": {...}}``, which ``load_data(name, **options)`` turns into this
            data set again; empty for the user's own tensors.
        modes: the known modes of a synthetic mixture, for evaluation to count.

    Raises:
        UsageError: a split is not what ``spec`` says (see :func:`ppgen.data.validate.check_split`).
    """

    spec: DataSpec
    train: Split
    valid: Split
    test: Split
    dynamic: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    modes: Modes | None = None

    def __post_init__(self) -> None:
        if self.dynamic and self.spec.observation != "binary":
            raise UsageError(
                f"data {self.spec.name!r} is {self.spec.observation} and dynamic: "
                "only binary data is drawn anew at each presentation."
            )
        for name in SPLITS:
            check_split(name, getattr(self, name), self.spec, probabilities=self.dynamic and name == "train")
        if self.spec.num_data not in (None, len(self.train[0])):
            raise UsageError(
                f"num_data of data {self.spec.name!r} is {self.spec.num_data}, but train has "
                f"{len(self.train[0])} rows: leave num_data out or correct it."
            )

    def draw(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One presentation of ``batch``: x ~ Bernoulli(x) where the data is dynamic, else the batch itself.

        Uses torch's global random numbers, and nothing but tensor operations: it can be traced. 0 and 1 stay
        what they are, so that a batch of ``valid`` or ``test`` passes unchanged.
        """
        if not self.dynamic:
            return batch
        return (torch.bernoulli(batch[0]), *batch[1:])

    def split(self, name: str) -> Split:
        """The split of that name.

        Raises:
            UsageError: there is none; the three names are listed.
        """
        if name not in SPLITS:
            raise UsageError(f"unknown split {name!r}{nearest(name, SPLITS)}")
        split: Split = getattr(self, name)
        return split

    def rows(self, split: str, rows: slice | Tensor = slice(None)) -> tuple[Tensor, ...]:
        """Rows of a split as a batch of dense tensors: x (B, D), and y (B,) where there are labels.

        Args:
            split: its name.
            rows: a slice, an index (B,) or a mask (N,).

        Raises:
            UsageError: there is no such split.
        """
        return tuple(part[rows] for part in self.split(split))

    def to(self, device: torch.device | str) -> Self:
        """The same data with its splits on ``device``."""
        train, valid, test = (tuple(part.to(device) for part in self.split(name)) for name in SPLITS)
        return dataclasses.replace(self, train=train, valid=valid, test=test)

    @cached_property
    def sha256(self) -> str:
        """A hash of all tensors with their types and shapes: two runs with the same one saw the same data."""
        digest = hashlib.sha256()
        for name in SPLITS:
            for tensor in (tensor for part in self.split(name) for tensor in stored(part)):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()
