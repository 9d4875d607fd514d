"""The sections of a run's report: functions of the run that give a :class:`Section`, or None where there is nothing."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ppgen.pages.charts import TEXT, Chart
from ppgen.pages.pictures import png

__all__ = ["COLUMNS", "Figure", "Group", "Section", "figure_of", "name_of", "picture", "table", "texts", "tiles"]

Group = Literal["Fit", "Guide", "Model", "Pictures", "Record", ""]
"""What a section tells of; its link stands with those of its group. Empty: of no group."""

COLUMNS = 10
"""Pictures side by side, at most."""

_CHART_SCALE = 1.4
"""CSS pixels of the page to a point of a chart, at most."""

_LETTERS = 11
"""CSS pixels of a chart's smallest letters, at least: a narrower screen scrolls the chart."""

_TILE = 76
"""Width of a picture on the page, in CSS pixels, at most."""


@dataclass(frozen=True)
class Figure:
    """A picture or chart as an element of the page, and what stands below it; ``wide``: it takes the page's width."""

    body: Markup
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """One part of the page. All texts are plain: the page escapes them.

    ``facts`` are names and values in groups, each under its heading; ``table`` is rows, the first the header, and
    ``text_columns`` those of its columns that hold words and not numbers. ``group``: where its link stands. A section
    that is ``wide``, or has a table of words or a wide figure, takes the whole width of the page.
    """

    title: str
    text: str = ""
    figures: tuple[Figure, ...] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    table: tuple[tuple[str, ...], ...] = ()
    text_columns: tuple[int, ...] = ()
    group: Group = ""
    wide: bool = False

    @property
    def takes_all(self) -> bool:
        """Whether it takes the whole width of the page."""
        return self.wide or bool(self.text_columns) or any(figure.wide for figure in self.figures)

    @property
    def tabled(self) -> Markup:
        """The table as an element of the page; empty where there is none."""
        return table(self.table, self.text_columns, self.title) if self.table else Markup("")


def name_of(config: Mapping[str, Any]) -> str:
    """The registered name of a model or objective, or its class's."""
    return str(config.get("name") or config.get("class") or "not registered")


def texts(group: Mapping[str, Any]) -> dict[str, str]:
    """Names and values as the page shows them."""
    return {key.replace("_", " "): _text(value) for key, value in group.items()}


def _text(value: Any) -> str:
    """An objective among options, and a list of them, as a command line has it: ``hinge(r1=0.1)``."""
    if isinstance(value, Mapping) and "options" in value:
        options = ", ".join(f"{key}={_text(option)}" for key, option in value["options"].items())
        return f"{name_of(value)}({options})" if options else name_of(value)
    if isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        return ", ".join(map(_text, value))
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)


def figure_of(chart: Chart, alt: str, caption: str = "") -> Figure:
    """The SVG itself: it takes its colours, light or dark, from the page, and is read on a phone."""
    points = 72 * chart.figure.get_figwidth()
    least, most = math.ceil(_LETTERS / TEXT * points), round(_CHART_SCALE * points)
    body = Markup('<div class="scroll"><div style="min-width: {}px; max-width: {}px">{}</div></div>')
    return Figure(body.format(least, most, Markup(chart.svg(alt))), caption)


def table(rows: Sequence[Sequence[object]], text_columns: Iterable[int] = (), label: str = "") -> Markup:
    """A ``<table>`` of rows, the first the header, that scrolls where the screen is narrower.

    Args:
        rows: of cells, text or elements of the page.
        text_columns: those that hold words and not numbers.
        label: what those are told who cannot see it.
    """
    words = frozenset(text_columns)
    head, *body = (
        Markup("").join(_cell(cell, index, words, row == 0) for index, cell in enumerate(cells))
        for row, cells in enumerate(rows)
    )
    lines = Markup("\n").join(map(Markup("<tr>{}</tr>").format, body))
    return Markup(
        '<div class="scroll" role="region" tabindex="0" aria-label="{}"><table{}>\n<thead><tr>{}</tr></thead>\n'
        "<tbody>\n{}\n</tbody>\n</table></div>"
    ).format(label or "table", Markup(' class="words"') if words else "", head, lines)


def _cell(cell: object, index: int, words: frozenset[int], is_head: bool) -> Markup:
    start = '<th scope="col"{}>{}</th>' if is_head else "<td{}>{}</td>"
    return Markup(start).format(Markup(' class="words"') if index in words else "", cell)


def tiles(named: Mapping[str, Markup], least: int) -> Markup:
    """Elements side by side, as many as the screen holds at ``least`` CSS pixels each, and below each its name."""
    each = (Markup("<div>{}<p>{}</p></div>").format(body, name) for name, body in named.items())
    grid = '<div class="tiles" style="grid-template-columns: repeat(auto-fill, minmax({}px, 1fr))">{}</div>'
    return Markup(grid).format(least, Markup("").join(each))


def picture(pixels: NDArray[np.uint8], columns: int, alt: str) -> Markup:
    """An ``<img>`` that holds its own file."""
    height, width, _ = pixels.shape
    shown = columns * _TILE
    source = base64.b64encode(png(pixels)).decode()
    return Markup('<img src="data:image/png;base64,{}" alt="{}" width="{}" height="{}" style="width: {}px">').format(
        source, alt, width, height, shown
    )
