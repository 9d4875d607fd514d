"""What one datum is: the facts about a data set that a pair builds its networks and its likelihood from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import accumulate
from math import prod
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from pydantic import Strict

from ppgen.arguments import Count, Words, check_fields, one_of
from ppgen.data.column import Column
from ppgen.distributions.place import Place
from ppgen.errors import UsageError, setting, shown

__all__ = ["DataSpec", "Observation"]

Observation = Literal["binary", "real", "quantised", "counts", "symbols", "categorical", "mixed", "any"]

_Vocabulary = Annotated[tuple[str, ...], Strict(), Words("a list of words, word i for column i")]


@dataclass(frozen=True)
class DataSpec:
    """One datum x: a vector of ``num_features`` numbers, and the likelihood that fits it; or whatever its owner has.

    Args:
        name: the data set's registered name, or whatever its owner calls it.
        num_features: D; x is flat, (B, D), in torch's default floating-point type, but for ``"any"``; of ``"symbols"``
            x is (B, T) of any T.
        observation: ``"binary"`` (x is 0 or 1: Bernoulli), ``"real"`` (Gaussian), ``"quantised"``
            (x = k / (levels - 1) for k = 0..levels-1: discretized logistic), ``"counts"`` (x_w = 0, 1, 2, ... is
            how often word w stands in a document: multinomial), ``"symbols"`` (x_t = 0..D-1 are D symbols in their
            order, -1 after the last: :mod:`ppgen.distributions.symbols`), ``"categorical"`` (x is the one-hot of one of
            D categories), ``"mixed"`` (``columns`` of several of these kinds, side by side) or ``"any"`` (x has the
            shape and the type that its owner gave it: the pair states the likelihood).
        shape: of a datum of ``"any"``, and of nothing else; () for numbers, (T, D) for sequences; it holds
            ``num_features`` numbers.
        image_shape: (H, W) or (C, H, W) of a datum that is a picture, row-major, upright.
        levels: L, the number of grey levels, of ``"quantised"``; of ``"real"``, that x = (k + u) / L with u in [0, 1)
            for k = 0..L-1: dequantised, so that log p(k) >= E_u[log p(x)] - D log L.
        num_classes: C, when a batch is (x, y) with labels y = 0..C-1 of shape (B,), int64.
        num_labelled: how many of the training data have a label, where others have none: theirs is -1.
        num_data: N, the number of training data: the plate's scale is N / B.
        length: words in a document, the mean over the training data, rounded: what is drawn where no datum says how
            long; for ``"counts"`` and ``"symbols"`` and for nothing else.
        source: what s is, when a batch is (x, s) with s another vector that x is to be made of (translation), (B, D_s).
        paired: with ``source``, where x and s of a row belong together: in ``"all"`` splits, in those ``"held_out"``
            and not in train, or in ``"none"``; else a row is one datum of each of two sets.
        mean: (D,), the mean of the training data, of symbols that of their counts, for a likelihood's first bias;
            neither compared nor saved.
        vocabulary: D words, the names of the features of ``"counts"`` or of ``"symbols"``; neither compared nor saved.
        columns: of ``"mixed"``, and of nothing else: side by side, D numbers.

    Raises:
        UsageError: a number is not positive, the shape does not hold D numbers, or ``levels``, ``length``,
            ``vocabulary``, ``shape`` or ``columns`` is missing, superfluous or of another size.

    >>> DataSpec("digits", 64, "binary", image_shape=(8, 8)).to_json()["image_shape"]
    [8, 8]
    """

    name: str
    num_features: Count
    observation: Observation
    image_shape: tuple[Count, ...] | None = None
    levels: Annotated[int, Ge(2)] | None = None
    num_classes: Count | None = None
    num_data: Count | None = None
    length: Count | None = None
    num_labelled: Count | None = None
    mean: torch.Tensor | None = field(default=None, compare=False, repr=False)
    vocabulary: _Vocabulary | None = field(default=None, compare=False, repr=False)
    shape: tuple[Count, ...] | None = None
    source: DataSpec | None = None
    paired: Literal["all", "held_out", "none"] | None = None
    columns: tuple[Column, ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self, f"data {shown(self.name)}")
        self._check_observation()
        self._check_documents()
        self._check_columns()
        self._check_shapes()
        self._check_source()

    def _check_observation(self) -> None:
        if self.num_labelled is not None and self.num_classes is None:
            raise UsageError(
                f"data {shown(self.name)} has num_labelled={self.num_labelled} and no num_classes: give both."
            )
        if self.observation != "real" and (self.levels is not None) != (self.observation == "quantised"):
            raise UsageError(
                f"data {shown(self.name)} is {self.observation} and has levels={self.levels}: "
                "give levels for quantised data, and for real data that were dequantised."
            )

    def _check_documents(self) -> None:
        for name in ("length", "vocabulary"):
            if getattr(self, name) is not None and self.observation not in ("counts", "symbols"):
                raise UsageError(
                    f"data {shown(self.name)} is {self.observation} and has a {name}: give it for counts or symbols "
                    "and nothing else."
                )
        if self.vocabulary is not None and len(self.vocabulary) != self.num_features:
            raise UsageError(
                f"vocabulary of data {shown(self.name)} must hold num_features={self.num_features} words, "
                f"got {len(self.vocabulary)}."
            )

    def _check_columns(self) -> None:
        if (self.columns is not None) != (self.observation == "mixed"):
            raise UsageError(
                f"data {shown(self.name)} is {self.observation} and has columns={shown(self.columns)}: give them for "
                "data of the kind mixed, and for nothing else."
            )
        columns = self.columns or ()
        size, names = sum(column.size for column in columns), {column.name for column in columns}
        if columns and (size != self.num_features or len(names) < len(columns)):
            raise UsageError(
                f"columns of data {shown(self.name)} must have names of their own and hold num_features="
                f"{self.num_features} numbers, got {', '.join(column.name for column in columns)}, which hold {size}."
            )

    def _check_shapes(self) -> None:
        if (self.shape is not None) != (self.observation == "any"):
            raise UsageError(
                f"data {shown(self.name)} is {self.observation} and has shape={self.shape}: give it for data of the "
                "kind any, and for nothing else."
            )
        if self.shape is not None and prod(self.shape) != self.num_features:
            raise UsageError(
                f"shape of data {shown(self.name)} must hold num_features={self.num_features} numbers, got "
                f"{self.shape}."
            )
        if self.image_shape is not None and (
            len(self.image_shape) not in (2, 3) or prod(self.image_shape) != self.num_features
        ):
            raise UsageError(
                f"image_shape of data {shown(self.name)} must be (H, W) or (C, H, W) holding num_features="
                f"{self.num_features} numbers, got {tuple(self.image_shape)}."
            )
        if self.mean is not None and self.mean.shape != (self.num_features,):
            raise UsageError(
                f"mean of data {shown(self.name)} must have shape ({self.num_features},), got {tuple(self.mean.shape)}."
            )

    def _check_source(self) -> None:
        if (self.source is None) != (self.paired is None):
            raise UsageError(
                f"data {shown(self.name)} have source={shown(self.source)} and paired={shown(self.paired)}: give both, "
                "or neither."
            )
        if self.source is not None and self.num_classes is not None:
            raise UsageError(
                f"the second tensor of data {shown(self.name)} is a source and cannot be a label too: give source or "
                f"num_classes={self.num_classes}."
            )
        if self.source is not None and self.source.source is not None:
            raise UsageError(f"the source of data {shown(self.name)} has a source itself: give one alone.")

    def pairs_in(self, split: str) -> bool:
        """Whether x and source of a row of that split belong together."""
        return self.paired == "all" or (self.paired == "held_out" and split != "train")

    @property
    def column_places(self) -> tuple[tuple[Column, slice], ...]:
        """The columns of mixed data, and where in x they are; else none."""
        columns = self.columns or ()
        ends = accumulate(column.size for column in columns)
        return tuple((column, slice(end - column.size, end)) for column, end in zip(columns, ends, strict=True))

    @property
    def parts(self) -> tuple[tuple[Place, DataSpec], ...]:
        """x in parts of one kind, each with its place: of mixed data the real numbers, the binary ones and the one-hot
        of each category; else all of x."""
        if self.columns is None:
            return ((Place(((0, self.num_features),)), self),)
        slices: dict[tuple[Observation, str], list[slice]] = {}
        for column, place in self.column_places:
            slices.setdefault((column.kind, column.name if column.categories else ""), []).append(place)
        places = [(kind, Place.at(found)) for (kind, _), found in slices.items()]
        return tuple((place, self._part(kind, place)) for kind, place in places)

    def _part(self, kind: Observation, place: Place) -> DataSpec:
        mean = None if self.mean is None else place.of(self.mean)
        return DataSpec(self.name, place.size, kind, num_data=self.num_data, mean=mean)

    @property
    def centre(self) -> torch.Tensor:
        """A copy of the mean, (D,); zeros where it is not known."""
        return torch.zeros(self.num_features) if self.mean is None else self.mean.clone()

    @property
    def in_words(self) -> str:
        """The kind, for a sentence that says which others were expected."""
        if self.observation != "mixed":
            return self.observation
        real = setting("D", "observation", "real")
        return f"mixed ({real} takes columns of numbers alone as one kind)"

    @property
    def dequantised(self) -> bool:
        """Whether x is real and was quantised, noise filling each level's cell."""
        return self.observation == "real" and self.levels is not None

    @property
    def in_unit_interval(self) -> bool:
        """Whether x lies in [0, 1], whatever the data."""
        return self.observation == "binary" or self.levels is not None

    def to_json(self) -> dict[str, Any]:
        """All but ``mean`` and ``vocabulary``, in JSON's own types."""
        values = {name: getattr(self, name) for name in _saved()}
        return {name: _plain(value) for name, value in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DataSpec:
        """The inverse of :meth:`to_json`.

        Raises:
            UsageError: an entry is unknown, or one without a default is missing.
        """
        known = _saved()
        for name in values:
            one_of("unknown entry in the description of a datum,", name, known)
        missing = [name for name in ("name", "num_features", "observation") if name not in values]
        if missing:
            raise UsageError(f"the description of a datum lacks {', '.join(missing)}: it has {', '.join(values)}.")
        entries: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        if isinstance(source := entries.get("source"), Mapping):
            entries["source"] = cls.from_json(source)
        if isinstance(columns := entries.get("columns"), tuple):
            entries["columns"] = tuple(map(Column.from_json, columns))
        return cls(**entries)


def _plain(value: Any) -> Any:
    if isinstance(value, DataSpec | Column):
        return value.to_json()
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _saved() -> list[str]:
    """The entries that describe a datum; the others are facts of the training data."""
    return [entry.name for entry in fields(DataSpec) if entry.compare]
