"""The sections of a run's report: functions of the run that give a :class:`Section`, or None where there is nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ppgen.pages.charts import Chart
from ppgen.pages.pictures import png

__all__ = ["COLUMNS", "Figure", "Section", "figure_of", "name_of", "picture", "texts"]

COLUMNS = 10
"""Pictures side by side, at most."""

_CHART_SCALE = 1.4
"""CSS pixels of the page to a point of a chart, at most."""

_TILE = 76
"""Width of a picture on the page, in CSS pixels, at most."""


@dataclass(frozen=True)
class Figure:
    """A picture or chart as an element of the page, and what stands below it."""

    body: Markup
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """One part of the page. All texts are plain: the page escapes them.

    ``facts`` are names and values in groups, each under its heading; ``table`` is rows, the first the header, and
    ``text_columns`` those of its columns that hold words and not numbers.
    """

    title: str
    text: str = ""
    figures: tuple[Figure, ...] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    table: tuple[tuple[str, ...], ...] = ()
    text_columns: tuple[int, ...] = ()


def name_of(config: Mapping[str, Any]) -> str:
    """The registered name of a model or objective, or its class's."""
    return str(config.get("name") or config.get("class") or "not registered")


def texts(group: Mapping[str, Any]) -> dict[str, str]:
    """Names and values as the page shows them."""
    return {key.replace("_", " "): _text(value) for key, value in group.items()}


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and "options" in value:
        return ", ".join([name_of(value), *(f"{k} = {v}" for k, v in texts(value["options"]).items())])
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)


def figure_of(chart: Chart, alt: str, caption: str = "") -> Figure:
    """The SVG itself: it takes its colours, light or dark, from the page."""
    width = round(_CHART_SCALE * 72 * chart.figure.get_figwidth())
    return Figure(Markup('<div style="max-width: {}px">{}</div>').format(width, Markup(chart.svg(alt))), caption)


def picture(pixels: NDArray[np.uint8], columns: int, alt: str) -> Markup:
    """An ``<img>`` that holds its own file."""
    height, width, _ = pixels.shape
    shown = columns * _TILE
    source = base64.b64encode(png(pixels)).decode()
    return Markup('<img src="data:image/png;base64,{}" alt="{}" width="{}" height="{}" style="width: {}px">').format(
        source, alt, width, height, shown
    )
