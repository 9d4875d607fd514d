"""The sections of a run's report: functions of the run that give a :class:`Section`, or None where there is nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray

from ppgen.charts import Chart, Vectors, draw_panels
from ppgen.draws import reconstructions
from ppgen.errors import is_out_of_memory
from ppgen.pictures import grey_range, grid, picture_shape, png
from ppgen.rows import take_rows

if TYPE_CHECKING:
    from ppgen.runs import Run

__all__ = [
    "COLUMNS",
    "Figure",
    "Section",
    "configuration",
    "drawn",
    "grey",
    "layout",
    "modes_of",
    "name_of",
    "name_of_value",
    "number",
    "picture",
    "pictured",
    "reconstruction",
    "shown_data",
    "texts",
    "versions",
]

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


def number(value: float, digits: int = 2) -> str:
    """A number as the page shows it: thousands apart, a true minus sign.

    >>> number(-1234.567)
    '−1,234.57'
    """
    return f"{value:,.{digits}f}".replace("-", "−")


def pictured(
    title: str, applies: Callable[[Run], bool] = lambda run: True
) -> Callable[[Callable[[Run], Iterator[Figure]]], Callable[[Run], Section | None]]:
    """Make a section of a function that yields figures: None for a run to which it does not apply.

    Where the pair cannot give the figures, the section says why.
    """

    def decorate(figures: Callable[[Run], Iterator[Figure]]) -> Callable[[Run], Section | None]:
        @wraps(figures)
        def section(run: Run) -> Section | None:
            try:
                return Section(title, figures=tuple(figures(run))) if applies(run) else None
            except (RuntimeError, ValueError) as error:
                if is_out_of_memory(error):
                    raise
                return Section(title, f"There is no such picture of this pair: {error}")

        return section

    return decorate


@pictured("Reconstructions", applies=lambda run: not run.pair.implicit)
def reconstruction(run: Run) -> Iterator[Figure]:
    """Data that were held out, or what there is, and what the pair makes of them."""
    shape, columns = layout(run)
    num = min(2 * COLUMNS, len(run.data.shown[0])) // columns * columns
    batch = take_rows(run.data.shown, slice(num))
    x, mean = batch[0], reconstructions(run.pair, batch).mean
    if shape is None:
        panels = {f"datum {i}": [Vectors(x[[i]], 1, marker="o"), Vectors(mean[[i]])] for i in range(min(6, num))}
        caption = f"{shown_data(run).capitalize()} (with points), and {_again(run)} for each."
        yield drawn(draw_panels(panels), f"{len(panels)} {shown_data(run)} and their reconstructions.", caption)
    else:
        both = zip(x.split(columns), mean.split(columns), strict=True)
        pixels = grid(torch.cat([row for rows in both for row in rows]), shape, columns, grey=grey(run), band=2)
        caption = f"{shown_data(run).capitalize()}; below each, {_again(run)}."
        yield Figure(picture(pixels, columns, f"{num} {shown_data(run)}, each above its reconstruction."), caption)


def configuration(run: Run) -> Section:
    """All that rebuilds the run."""
    config = run.config
    size = sum(parameter.numel() for parameter in run.pair.parameters())
    groups = {
        "model": {"name": name_of(config["model"]), **config["model"]["options"], "parameters": f"{size:,}"},
        "data": {"name": config["data"].get("name", run.data.spec.name), **config["data"].get("options", {})},
        "objective": {"name": name_of(config["objective"]), **config["objective"]["options"]},
        "training": config["training"],
    }
    return Section("Configuration", facts={title: texts(group) for title, group in groups.items()})


def versions(run: Run) -> Section:
    """What it ran on."""
    facts = {**run.config["versions"], "device": run.config["device"], "data (SHA-256)": run.config["data"]["sha256"]}
    return Section("Versions", facts={"": texts(facts)})


def name_of(config: Mapping[str, Any]) -> str:
    """The registered name of a model or objective, or its class's."""
    return str(config.get("name") or config.get("class") or "not registered")


def name_of_value(run: Run) -> str:
    """What the objective's value may be called: a bound on log p(x), or just the objective."""
    return "bound" if run.objective.is_bound else "objective"


def texts(group: Mapping[str, Any]) -> dict[str, str]:
    """Names and values as the page shows them."""
    return {key.replace("_", " "): _text(value) for key, value in group.items()}


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and "options" in value:
        return ", ".join([name_of(value), *(f"{k} = {v}" for k, v in texts(value["options"]).items())])
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)


def _again(run: Run) -> str:
    """How a datum was made again."""
    return "the mean of p(x | z) at one draw z of the guide" if run.pair.normalised else "a draw by one sweep from it"


def shown_data(run: Run) -> str:
    """What the data are that the page shows: test data where there are some."""
    return {"test": "test", "valid": "validation", "train": "training"}[run.data.last_split] + " data"


def layout(run: Run) -> tuple[tuple[int, ...] | None, int]:
    """How a datum is drawn, and how many stand side by side."""
    columns = 1 if run.data.spec.image_shape is None else min(COLUMNS, len(run.data.shown[0]))
    return picture_shape(run.data.spec), columns


def grey(run: Run) -> tuple[float, float]:
    """The values of x that a picture shows as black and as white."""
    return grey_range(run.data.spec, run.data.shown[0])


def modes_of(run: Run) -> list[Vectors]:
    """The known modes of data in the plane, as crosses; none where there are none."""
    modes = run.data.modes
    return [Vectors(modes.centres, 2, marker="+")] if modes is not None and modes.centres.shape[1] == 2 else []


def drawn(chart: Chart, alt: str, caption: str = "") -> Figure:
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
