"""A data set: a description of one datum, and train, valid and test splits, tensors in memory or rows of files."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from types import UnionType
from typing import Any, Self

import torch
from torch import Tensor

from ppgen.arguments import one_of
from ppgen.data.disk_rows import DiskRows
from ppgen.data.modes import Modes
from ppgen.data.rows import Rows, pieces, stored
from ppgen.data.scaling import Scaling
from ppgen.data.spec import DataSpec
from ppgen.data.validate import check_split
from ppgen.errors import UsageError, cut, shown

__all__ = ["SPLITS", "Dataset", "Split"]

SPLITS = ("train", "valid", "test")

Split = tuple[Any, ...]
"""Tensors, but for x of counts, which may be a ``SparseRows``, and rows on disk, a ``DiskRows``; not a union, which
every user would have to narrow."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Splits of one kind of datum.

    Args:
        spec: what one datum is.
        train: (x,) or (x, y); x is (N, D), y is (N,) int64; x of counts may be sparse
            (:class:`ppgen.data.sparse.SparseRows`), and x and y may stay in files
            (:class:`ppgen.data.disk_rows.DiskRows`): they are dense tensors wherever rows are taken. Of data that
            are ``"any"``, as many tensors of N rows as there are, of any shape and type.
        valid: the same, for early stopping; empty: nothing is held out for that.
        test: the same, touched once; empty: nothing is held out for that.
        dynamic: each presentation draws x anew (:meth:`draw`). Binary x of ``train`` holds probabilities of 0 or 1,
            ``valid`` and ``test`` hold 0 and 1, drawn once; dequantised x has another place in its level's cell.
        config: ``{"name": ..., "options": {...}}``, which ``load_data(name, **options)`` turns into this
            data set again; empty for the user's own tensors.
        modes: the known modes of a synthetic mixture, for evaluation to count.
        mixing: the known matrix (D, D) of synthetic data that are mixtures of D sources, x = A s, for evaluation.
        beside: further data sets, whose batches take turns with this one's in training; they may be of another kind
            (unlabelled ones beside labelled ones). Everything but training looks at this one alone.
        kinds: what was found of columns that have names: those of x in their order, then the target.
        scaling: how x was standardised; None: it was not.

    Raises:
        UsageError: a split is not what ``spec`` says (see :func:`ppgen.data.validate.check_split`), or is of another
            kind than train; another part is of a wrong type, or does not fit ``spec``.

    >>> x = torch.arange(8.0).reshape(4, 2)
    >>> data = Dataset(DataSpec("numbers", 2, "real"), train=(x[:3],), test=(x[3:],))
    >>> data, data.rows("test")
    (data 'numbers': 3 to train, 1 held out for test, (tensor([[6., 7.]]),))
    """

    spec: DataSpec
    train: Split
    valid: Split = ()
    test: Split = ()
    dynamic: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    modes: Modes | None = None
    beside: tuple[Dataset, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    scaling: Scaling | None = None
    mixing: Tensor | None = None

    def __post_init__(self) -> None:
        self._check_types()
        if self.dynamic and self.spec.observation != "binary" and not self.spec.dequantised:
            raise UsageError(
                f"data {shown(self.spec.name)} is {self.spec.observation} and dynamic: "
                "only binary data, and real data with levels, are drawn anew at each presentation."
            )
        check_split("train", self.train, self.spec, probabilities=self.dynamic)
        for name in self._held_out:
            check_split(name, getattr(self, name), self.spec, like=self.train)
        if self.spec.num_data not in (None, len(self.train[0])):
            raise UsageError(
                f"num_data of data {shown(self.spec.name)} is {self.spec.num_data}, but train has "
                f"{len(self.train[0])} rows: leave num_data out or correct it."
            )
        if self.modes is not None and self.modes.centres.shape[1] != self.spec.num_features:
            raise UsageError(
                f"the modes of data {shown(self.spec.name)} must have num_features={self.spec.num_features} "
                f"coordinates, got {self.modes.centres.shape[1]}."
            )
        if self.mixing is not None and self.mixing.shape != (size := (self.spec.num_features,) * 2):
            raise UsageError(
                f"the mixing of data {shown(self.spec.name)} must be {size}, got {tuple(self.mixing.shape)}."
            )

    def _check_types(self) -> None:
        """The other parts are what they are called; the splits are looked at by themselves."""
        expected: list[tuple[str, Any, type | UnionType]] = [
            ("spec", self.spec, DataSpec),
            ("dynamic", self.dynamic, bool),
            ("config", self.config, Mapping),
            ("modes", self.modes, Modes | None),
            ("beside", self.beside, tuple),
            ("kinds", self.kinds, Mapping),
            ("scaling", self.scaling, Scaling | None),
            ("mixing", self.mixing, Tensor | None),
        ]
        for name, value, kind in expected:
            if not isinstance(value, kind):
                what = getattr(kind, "__name__", str(kind))
                raise UsageError(f"{name} of a Dataset must be a {what}, got {shown(value)}.")
        if not all(isinstance(other, Dataset) for other in self.beside):
            raise UsageError(f"beside of a Dataset must hold Datasets, got {shown(self.beside)}.")

    def __repr__(self) -> str:
        """The name, and how many data each split has: what is held out is said."""
        sizes = {name: len(getattr(self, name)[0]) for name in ("train", *self._held_out)}
        held_out = [f"{sizes[name]:,} held out for {name}" for name in self._held_out]
        own = f"data {shown(self.spec.name)}: {sizes['train']:,} to train, {', '.join(held_out) or 'nothing held out'}"
        found = "; ".join([own, *self._kinds_in_words(), *(["standardised"] if self.scaling is not None else [])])
        return "; beside ".join([found, *map(repr, self.beside)])

    def _kinds_in_words(self) -> list[str]:
        """Neighbouring columns of one kind together: ``height, weight: real``."""
        groups = groupby(self.kinds.items(), key=lambda item: item[1])
        return [f"{cut(', '.join(name for name, _ in named), 100)}: {cut(kind, 100)}" for kind, named in groups]

    @cached_property
    def sources(self) -> Dataset | None:
        """The sources of a translation as a data set of their own; None: there are none."""
        if self.spec.source is None:
            return None
        train, valid, test = (split[1:] for split in (self.train, self.valid, self.test))
        return Dataset(dataclasses.replace(self.spec.source, num_data=None), train, valid, test)

    @property
    def names(self) -> tuple[str, ...]:
        """What the features of x are called, (D,): words, columns of a table, else x0, x1, ..."""
        size = self.spec.num_features
        if self.spec.columns is not None:
            return tuple(name for column in self.spec.columns for name in column.features)
        known = self.spec.vocabulary or tuple(self.kinds)[:size]
        return known if len(known) == size else tuple(f"x{i}" for i in range(size))

    @property
    def found(self) -> dict[str, Any]:
        """What ``config.json`` says of the data beside their name and options."""
        kinds = {"kinds": dict(self.kinds)} if self.kinds else {}
        return kinds | ({} if self.scaling is None else {"standardised": self.scaling.to_json()})

    def in_units(self, x: Tensor) -> Tensor:
        """x (..., D) in the units that the data were given in: what standardising did is undone."""
        return x if self.scaling is None else self.scaling.undone(x)

    def as_columns(self, x: Tensor) -> tuple[tuple[str, ...], list[Any]]:
        """x (N, D) in the units that the data were given in, as names and columns, (N,) each; categories by their
        names."""
        x = self.in_units(x)
        if self.spec.columns is None:
            return self.names, list(x.cpu().numpy().T)
        each = self.spec.column_places
        return tuple(column.name for column, _ in each), [column.values(x[:, place]) for column, place in each]

    @property
    def parts(self) -> tuple[Dataset, ...]:
        """The data sets whose batches take turns in training: this one, and those beside it."""
        return (self, *self.beside)

    @property
    def last_split(self) -> str:
        """The last of the splits that there is, which evaluation and pictures look at: test, or valid, or train."""
        return ["train", *self._held_out][-1]

    @property
    def shown(self) -> Split:
        """The split of that name."""
        return self.split(self.last_split)

    @property
    def _held_out(self) -> list[str]:
        return [name for name in SPLITS[1:] if not isinstance(getattr(self, name), tuple) or getattr(self, name)]

    def draw(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One presentation of ``batch``: where the data is dynamic, x ~ Bernoulli(x), or uniform in its level's cell.

        Uses torch's global random numbers, and nothing but tensor operations: it can be traced. 0 and 1 stay
        what they are, so that a binary batch of ``valid`` or ``test`` passes unchanged.
        """
        if not self.dynamic:
            return batch
        x, *others = batch
        if self.spec.levels is None:
            return (torch.bernoulli(x), *others)
        cell = (x * self.spec.levels).floor().clamp(max=self.spec.levels - 1)  # where rounding has made x 1
        return ((cell + torch.rand_like(x)) / self.spec.levels, *others)

    def split(self, name: str) -> Split:
        """The split of that name.

        Raises:
            UsageError: there is none; the three names are listed. Nothing is held out for it.
        """
        one_of("unknown split", name, SPLITS)
        split: Split = getattr(self, name)
        if not split:
            raise UsageError(
                f"data {shown(self.spec.name)} hold nothing out for {shown(name)}: name the split "
                f"{shown(self.last_split)}, or give {name} data, ppgen.data.as_dataset(train, {name}=...)."
            )
        return split

    def size(self, split: str) -> int:
        """How many data a split has.

        Raises:
            UsageError: there is no such split.
        """
        return len(self.split(split)[0])

    def on_disk(self, split: str) -> bool:
        """Whether data of a split stay on disk.

        Raises:
            UsageError: there is no such split.
        """
        return any(isinstance(part, DiskRows) for part in self.split(split))

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
        train, valid, test = (tuple(part.to(device) for part in getattr(self, name)) for name in SPLITS)
        beside = tuple(other.to(device) for other in self.beside)
        return dataclasses.replace(self, train=train, valid=valid, test=test, beside=beside)

    @cached_property
    def sha256(self) -> str:
        """A hash of all tensors with their types and shapes: two runs with the same one saw the same data."""
        digest = hashlib.sha256()
        for name in SPLITS:
            for rows in (rows for part in getattr(self, name) for rows in _kept_as(part)):
                digest.update(f"{name} {rows.dtype} {tuple(rows.shape)}".encode())
                for _, piece in pieces(rows):
                    digest.update(piece.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        for other in self.beside:
            digest.update(other.sha256.encode())
        return digest.hexdigest()


def _kept_as(part: Rows) -> Sequence[Tensor | DiskRows]:
    return [part] if isinstance(part, DiskRows) else stored(part)
