"""How data of a kind are drawn, on every page and in every file: pictures in a grid, or vectors in panels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from markupsafe import Markup
from torch import Tensor

from ppgen.data import Dataset
from ppgen.pages.charts import Chart, Vectors, plot_panels
from ppgen.pages.elements import COLUMNS, Figure, figure_of, picture
from ppgen.pages.pictures import grid, png

__all__ = ["Look", "look_of"]

_LINES, _POINTS = 20, 500
"""Draws that can be told apart as lines, and as points in the plane or on the line."""

_PANELS = 6
"""Data with a panel each, at most."""

_GREYS = 1000
"""Rows of data that say what is black and what white."""

_PIXELS = 64
"""Of the shorter side of a picture in a file, at least."""


def look_of(data: Dataset) -> Look:
    """Pictures for images, and for levels between 0 and 1, each a row of cells; panels for everything else."""
    return (Panels if data.spec.image_shape is None and not data.spec.in_unit_interval else Pictures)(data)


class Look(ABC):
    """The look of a data set's data, in the units that they were given in.

    All data are (num, D); ``alt`` and ``caption`` are those of the figure.

    Args:
        data: whose look it is.
    """

    columns = 1
    """Data side by side."""

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
        classes = self.spec.num_classes
        labels = "" if classes is None else f" Labels 0 to {classes - 1} in turn, row by row."
        return self._figure(x, min(classes or self.columns, self.columns), alt, f"{caption}{labels}")

    def file(self, x: Tensor) -> bytes:
        square = max(1, min(self.spec.num_classes or round(len(x) ** 0.5), 2 * COLUMNS))
        pixels = grid(self.data.in_units(x), self.shape, 1 if self.spec.image_shape is None else square, grey=self.grey)
        return png(pixels, max(1, _PIXELS // max(self.shape[-2:])))

    def rows(self, groups: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        x = list(groups.values())
        return self._figure(torch.cat(x), len(x[0]), alt, f"{caption} Row by row: {', '.join(groups)}.")

    def paths(self, paths: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        strip = Markup('<div class="strip"><p>{}</p>{}</div>')
        strips = [strip.format(name, self._figure(x, len(x), f"{alt} {name}", "").body) for name, x in paths.items()]
        return Figure(Markup("").join(strips), caption)

    def pairs(self, x: Tensor, mean: Tensor, alt: str, caption: str) -> Figure:
        both = zip(x.split(self.columns), mean.split(self.columns), strict=True)
        return self._figure(torch.cat([row for rows in both for row in rows]), self.columns, alt, caption, band=2)

    def each(self, data: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        return self._figure(torch.stack([*data.values()]), len(data) if self.means else 1, alt, caption)

    def _figure(self, x: Tensor, columns: int, alt: str, caption: str, band: int = 0) -> Figure:
        x = self.data.in_units(x)
        return Figure(picture(grid(x, self.shape, columns, grey=self.grey, band=band), columns, alt), caption)


class Panels(Look):
    """Histograms, points in the plane or lines, with the known modes of data in the plane as crosses."""

    @property
    def _modes(self) -> list[Vectors]:
        modes = self.data.modes
        return [Vectors(modes.centres, 2, marker="+")] if modes is not None and modes.centres.shape[1] == 2 else []

    def samples(self, x: Tensor, named: str, alt: str, caption: str) -> Figure:
        crosses = " Crosses: the known modes." if self._modes else ""
        beside = f"{min(len(x), len(self.data.shown[0]))} {named} beside {alt}"
        return figure_of(
            self._beside(x, named), beside, f"{named.capitalize()}, and as many samples. {caption}{crosses}"
        )

    def file(self, x: Tensor) -> bytes:
        return self._beside(x, "data").png()

    def rows(self, groups: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        return self._figure(
            {name: [self._vectors(x, 0, 0.5), *self._modes] for name, x in groups.items()}, alt, caption
        )

    def paths(self, paths: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        faint = {
            name: [*self._modes, *(self._vectors(x[[i]], 0, 0.2 + 0.8 * i / max(1, len(x) - 1)) for i in range(len(x)))]
            for name, x in paths.items()
        }
        return self._figure(faint, alt, f"{caption} The stronger, the further along.")

    def pairs(self, x: Tensor, mean: Tensor, alt: str, caption: str) -> Figure:
        first = range(min(_PANELS, len(x)))
        both = {f"datum {i}": [self._vectors(x[[i]], 1, marker="o"), self._vectors(mean[[i]])] for i in first}
        return self._figure(both, alt, f"{caption} With points: the data.")

    def each(self, data: Mapping[str, Tensor], alt: str, caption: str) -> Figure:
        return self._figure({name: [self._vectors(x[None])] for name, x in [*data.items()][:_PANELS]}, alt, caption)

    def _beside(self, x: Tensor, named: str) -> Chart:
        own = self.data.shown[0][: len(x)]
        groups = {named: self._vectors(own, 1, 0.5), "samples": self._vectors(x, 0, 0.5)}
        return plot_panels({name: [group, *self._modes] for name, group in groups.items()})

    def _vectors(self, x: Tensor, *style: Any, **named: Any) -> Vectors:
        """Data in the units that they were given in."""
        return Vectors(self.data.in_units(x), *style, **named)

    def _figure(self, panels: Mapping[str, list[Vectors]], alt: str, caption: str) -> Figure:
        return figure_of(plot_panels(panels), alt, caption)
