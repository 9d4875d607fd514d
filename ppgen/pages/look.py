"""How data of a kind are drawn, on every page and in every file: pictures in a grid, words, or vectors in panels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from markupsafe import Markup
from torch import Tensor

from ppgen.data import Dataset
from ppgen.distributions.symbols import present
from ppgen.pages.charts import Chart, Vectors, plot_panels, plot_texts
from ppgen.pages.elements import COLUMNS, Figure, figure_of, picture, table, tiles
from ppgen.pages.numbers import short
from ppgen.pages.pictures import grid, png

__all__ = ["Look", "look_of"]

_LINES, _POINTS = 20, 500
"""Draws that can be told apart as lines, and as points in the plane or on the line."""

_PANELS = 6
"""Data with a panel or a line of words each, at most."""

_WORDS = 8
"""Of a document, at most."""

_TEXT = 30
"""Words of a text, at most."""

_TILE = 84
"""CSS pixels of a picture with its name below, at least."""

_GREYS = 1000
"""Rows of data that say what is black and what white."""

_PIXELS = 64
"""Of the shorter side of a picture in a file, at least."""


def look_of(data: Dataset) -> Look:
    """Pictures for images, and for levels between 0 and 1, each a row of cells; words where the features are words,
    and text where they come in order;
    numbers by their names where they are columns of a table; panels for everything else."""
    spec = data.spec
    if spec.observation == "symbols":
        return Texts(data)
    if spec.image_shape is None and spec.vocabulary is not None:
        return Documents(data)
    if spec.image_shape is None and data.kinds and spec.num_features > 2:
        return Columns(data)
    return (Panels if spec.image_shape is None and not spec.in_unit_interval else Pictures)(data)


class Look(ABC):
    """The look of a data set's data, in the units that they were given in.

    All data are (num, D); ``alt`` and ``caption`` are those of the figure.

    Args:
        data: whose look it is.
    """

    columns = 1
    """Data side by side."""

    compared = _PANELS
    """Data of which each stands beside what was made of it, at most."""

    def __init__(self, data: Dataset) -> None:
        self.data, self.spec = data, data.spec

    @property
    def few(self) -> int:
        """How many draws can be told apart."""
        if self.spec.image_shape is not None:
            return COLUMNS
        return _POINTS if self.spec.num_features <= 2 else _LINES

    @property
    def means(self) -> bool:
        """Whether what a model makes is shown as the mean of p(x | z), and not as draws of x."""
        return self.spec.image_shape is not None

    @abstractmethod
    def samples(self, x: Tensor, named: str, alt: str, caption: str) -> Figure:
        """Draws of a model; beside as many data, which are ``named`` so, where these are not known at sight."""

    @abstractmethod
    def file(self, x: Tensor) -> bytes:
        """Draws of a model as a PNG file."""

    @abstractmethod
    def rows(self, groups: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        """Groups of as many data each, by name."""

    @abstractmethod
    def paths(self, paths: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        """Data that follow each other along paths, by name."""

    @abstractmethod
    def pairs(self, x: Tensor, mean: Tensor, alt: str, caption: str) -> Figure:
        """Data, and below or over each what was made of it."""

    @abstractmethod
    def each(self, data: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        """Single data, (D,) by name."""


class Pictures(Look):
    """Pictures side by side; black and white are 0 and 1, or for real data and counts the extremes of the data."""

    compared = 2 * COLUMNS

    def __init__(self, data: Dataset) -> None:
        super().__init__(data)
        self.shape = self.spec.image_shape or (1, self.spec.num_features)
        self.columns = 1 if self.spec.image_shape is None else min(COLUMNS, len(data.shown[0]))

    @cached_property
    def grey(self) -> tuple[float, float]:
        """The numbers drawn black and white."""
        shown = self.data.in_units(self.data.shown[0][:_GREYS])
        return (0.0, 1.0) if self.spec.in_unit_interval else (float(shown.min()), float(shown.max()))

    def samples(self, x: Tensor, named: str, alt: str, caption: str) -> Figure:
        return self._figure(x, min(self.spec.num_classes or self.columns, self.columns), alt, caption)

    def file(self, x: Tensor) -> bytes:
        square = max(1, min(self.spec.num_classes or round(len(x) ** 0.5), 2 * COLUMNS))
        pixels = grid(self.data.in_units(x), self.shape, 1 if self.spec.image_shape is None else square, grey=self.grey)
        return png(pixels, max(1, _PIXELS // max(self.shape[-2:])))

    def rows(self, groups: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        strip = Markup('<div class="strip"><p>{}</p>{}</div>')
        strips = [strip.format(name, self._figure(x, len(x), f"{alt} {name}", "").body) for name, x in groups.items()]
        return Figure(Markup("").join(strips), caption)

    def paths(self, paths: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        return self.rows(paths, alt, caption)

    def pairs(self, x: Tensor, mean: Tensor, alt: str, caption: str) -> Figure:
        both = zip(x.split(self.columns), mean.split(self.columns), strict=True)
        return self._figure(torch.cat([row for rows in both for row in rows]), self.columns, alt, caption, band=2)

    def each(self, data: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        one_each = {name: x[None] for name, x in data.items()}
        if self.spec.image_shape is None:
            return self.rows(one_each, alt, caption)
        pictures = {name: self._figure(x, 1, f"{alt} {name}", "").body for name, x in one_each.items()}
        return Figure(tiles(pictures, _TILE), caption)

    def plane(self, x: Tensor, alt: str, caption: str) -> Figure:
        """Data at the points of a grid, (rows, columns, D)."""
        return self._figure(x.flatten(0, 1), x.shape[1], alt, caption)

    def _figure(self, x: Tensor, columns: int, alt: str, caption: str, band: int = 0) -> Figure:
        x = self.data.in_units(x)
        return Figure(picture(grid(x, self.shape, columns, grey=self.grey, band=band), columns, alt), caption)


class _InWords(Look):
    """Each datum by a line of words and numbers."""

    said: str
    """What the lines are, and ``heading``, in a word."""
    heading: str

    @abstractmethod
    def _words(self, x: Tensor) -> str:
        """One datum, (D,)."""

    def rows(self, groups: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        lines = [(name, *map(self._words, x[:2])) for name, x in groups.items()]
        return self._table([("", "first", "second")[: len(lines[0])], *lines], alt, caption)

    def paths(self, paths: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        lines = [(name, *(self._words(x[i]) for i in (0, len(x) // 2, -1))) for name, x in paths.items()]
        return self._table([("", "at the start", "halfway", "at the end"), *lines], alt, caption)

    def pairs(self, x: Tensor, mean: Tensor, alt: str, caption: str) -> Figure:
        lines = [(self._words(one), self._words(other)) for one, other in zip(x, mean, strict=True)]
        return self._table([("datum", "made of it"), *lines], alt, caption)

    def each(self, data: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        return self._table([("", self.heading), *((name, self._words(x)) for name, x in data.items())], alt, caption)

    def _table(self, rows: Sequence[Sequence[str]], alt: str, caption: str) -> Figure:
        return Figure(table(rows, range(len(rows[0])), alt), f"{caption} {self.said}", wide=True)


class _OfWords(_InWords):
    """Each datum is made of words."""

    def samples(self, x: Tensor, named: str, alt: str, caption: str) -> Figure:
        both = zip(self.data.shown[0][:_PANELS], x, strict=False)
        return self._table([(named, "samples"), *(tuple(map(self._words, each)) for each in both)], alt, caption)


class Documents(_OfWords):
    """Documents by their most frequent words, each with how often it stands there, or is expected to."""

    said = "Of each document the most frequent words, and how often they stand in it or are expected to."
    heading = "words"

    def file(self, x: Tensor) -> bytes:
        return _beside(self.data, x, "data").png()

    def _words(self, x: Tensor) -> str:
        names, most = self.spec.vocabulary or (), x.topk(min(_WORDS, len(x)))
        each = zip(most.values.tolist(), most.indices.tolist(), strict=True)
        return ", ".join(f"{names[v]}\N{NO-BREAK SPACE}{short(often, 2)}" for often, v in each if often > 0) or "none"


class Texts(_OfWords):
    """Sequences of symbols, read as text."""

    said = f"Of each text the first {_TEXT} words."
    heading = "text"

    def file(self, x: Tensor) -> bytes:
        return plot_texts([f"{i}: {self._words(one)}" for i, one in enumerate(x)]).png()

    def _words(self, x: Tensor) -> str:
        symbols, names = x[present(x)].long().tolist(), self.spec.vocabulary
        read = [names[v] if names else str(v) for v in symbols[:_TEXT]]
        return " ".join([*read, "..."] if len(symbols) > _TEXT else read)


class Columns(_InWords):
    """Rows of a table by the names of their columns; many of them by a histogram of each column."""

    said = "Each by its first columns, in the units that they were given in."
    heading = "columns"

    def samples(self, x: Tensor, named: str, alt: str, caption: str) -> Figure:
        said = f"{named.capitalize()}, and as many samples, column by column. {caption}"
        return figure_of(self._histograms(x), f"{named} beside {alt}", said)

    def file(self, x: Tensor) -> bytes:
        return self._histograms(x).png()

    def _histograms(self, x: Tensor) -> Chart:
        """Of the first columns: the data, and draws of a model."""
        shown, made = self.data.in_units(self.data.shown[0][: len(x)]), self.data.in_units(x)
        return plot_panels(
            {
                name: [Vectors(shown[:, [i]], 1, 0.5), Vectors(made[:, [i]], 0, 0.5)]
                for i, name in enumerate(self.data.names[:_PANELS])
            },
            shared=False,
        )

    def _words(self, x: Tensor) -> str:
        columns = zip(*self.data.as_columns(x[None]), strict=True)  # of probabilities of categories the most probable
        said = [(name, value if isinstance(value, str) else short(float(value), 3)) for name, (value,) in columns]
        return ", ".join(f"{name}\N{NO-BREAK SPACE}{value}" for name, value in said[:_WORDS])


class Panels(Look):
    """Histograms, points in the plane or lines, with the known modes of data in the plane as crosses."""

    def samples(self, x: Tensor, named: str, alt: str, caption: str) -> Figure:
        crosses = " Crosses: the known modes." if _modes(self.data) else ""
        beside = f"{min(len(x), len(self.data.shown[0]))} {named} beside {alt}"
        return figure_of(
            _beside(self.data, x, named), beside, f"{named.capitalize()}, and as many samples. {caption}{crosses}"
        )

    def file(self, x: Tensor) -> bytes:
        return _beside(self.data, x, "data").png()

    def rows(self, groups: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        modes = _modes(self.data)
        return self._figure(
            {name: [_vectors(self.data, x, 0, 0.5), *modes] for name, x in groups.items()}, alt, caption
        )

    def paths(self, paths: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        modes = _modes(self.data)
        faint = {
            name: [*modes, *(_vectors(self.data, x[[i]], 0, 0.2 + 0.8 * i / max(1, len(x) - 1)) for i in range(len(x)))]
            for name, x in paths.items()
        }
        return self._figure(faint, alt, f"{caption} The stronger, the further along.")

    def pairs(self, x: Tensor, mean: Tensor, alt: str, caption: str) -> Figure:
        both = {
            f"datum {i}": [_vectors(self.data, x[[i]], 1, marker="o"), _vectors(self.data, mean[[i]])]
            for i in range(len(x))
        }
        return self._figure(both, alt, f"{caption} Marked by larger points: the data.")

    def each(self, data: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        return self._figure({name: [_vectors(self.data, x[None])] for name, x in data.items()}, alt, caption)

    def _figure(self, panels: Mapping[str, list[Vectors]], alt: str, caption: str) -> Figure:
        return figure_of(plot_panels(panels), alt, caption)


def _beside(data: Dataset, x: Tensor, named: str) -> Chart:
    """Draws of a model beside as many data, which are ``named`` so."""
    groups = {named: _vectors(data, data.shown[0][: len(x)], 1, 0.5), "samples": _vectors(data, x, 0, 0.5)}
    return plot_panels({name: [group, *_modes(data)] for name, group in groups.items()})


def _modes(data: Dataset) -> list[Vectors]:
    """The known modes of data in the plane, as crosses."""
    modes = data.modes
    return [Vectors(modes.centres, 2, marker="+")] if modes is not None and modes.centres.shape[1] == 2 else []


def _vectors(data: Dataset, x: Tensor, *style: Any, **named: Any) -> Vectors:
    """Data in the units that they were given in."""
    return Vectors(data.in_units(x), *style, **named)
