"""Curves and vectors as drawings: SVG that takes its colours from the page it stands in, or PNG.

Matplotlib is imported where it draws, and without ``pyplot``: no figure outlives its chart and no setting is changed.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle, product
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ppgen.pages.numbers import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FAINT",
    "INK",
    "SERIES",
    "STYLES",
    "TEXT",
    "WIDTH",
    "Chart",
    "Curve",
    "Vectors",
    "bars",
    "blank",
    "count_across",
    "labelled",
    "leave_out_the_start",
    "plot_bars",
    "plot_curves",
    "plot_panels",
    "plot_sorted",
    "plot_texts",
]

INK = "#3d3a36"
FAINT = "#dcd7ce"
SERIES = ("#0f6b8f", "#b8501b", "#5d7a1f", "#7a4fa3")
STYLES = tuple(product(("-", "--", ":"), SERIES))
"""Of curves, in turn: a dash and a colour; all colours first."""
WIDTH = 4.0
"""Inches of a chart that a phone shows whole."""
TEXT = 9.0
"""Points of the smallest letters of a chart."""
_LONG = 200
"""Numbers of a line that its panel has pixels for: a longer one is drawn as pixels, which take less room."""
_LETTERS = 50
"""Letters, and room for the marks before them, that fit above a panel."""
_VARIABLES = {INK: "--ink-2", FAINT: "--rule"} | {colour: f"--series-{i}" for i, colour in enumerate(SERIES, 1)}


@dataclass(frozen=True)
class Curve:
    """y against x; ``error`` is drawn as a bar of one standard error to each side."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] | None = None


@dataclass(frozen=True)
class Vectors:
    """Data that are no pictures, (num, ...), D numbers each: for D = 1 a histogram, for D = 2 points, else a line each.

    ``marker`` is matplotlib's: that of points, or one at every feature of a line.
    """

    values: Tensor
    series: int = 0
    opacity: float = 1.0
    marker: str = ""

    @property
    def rows(self) -> Tensor:
        """(num, D)."""
        return self.values.detach().reshape(len(self.values), -1)


@dataclass(frozen=True)
class Chart:
    """A finished figure."""

    figure: Figure

    def png(self) -> bytes:
        """The chart as a PNG file, on white."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=150)
        return buffer.getvalue()

    def svg(self, label: str) -> str:
        """An ``<svg>`` element whose colours and typeface are the page's CSS variables; the same text every time.

        Args:
            label: what a reader who cannot see it is told; of two charts on a page each has its own.
        """
        import matplotlib

        buffer = io.StringIO()
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
            self.figure.savefig(buffer, format="svg", transparent=True, dpi=150)
        text = buffer.getvalue()
        text = _shorter(text[text.index("<svg") :])
        text = text.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1)
        for pattern, replacement in _FOR_PAGES.items():
            text = re.sub(pattern, replacement, text, flags=re.DOTALL)
        return text


def _shorter(svg: str) -> str:
    """The same to a hundredth of a point, with the style of a group of marks said once."""
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    return re.sub(r"<g([^>]*)>(\s*(?:<use [^>]*/>\s*)+)</g>", _styled_once, svg)


def _styled_once(group: re.Match[str]) -> str:
    attributes, marks = group.groups()
    styles = set(re.findall(r' style="[^"]*"', marks))
    if len(styles) != 1 or "style=" in attributes:
        return group[0]
    (style,) = styles
    return f"<g{attributes}{style}>{marks.replace(style, '')}</g>"


_FOR_PAGES = {
    r"(<svg role=\"img\" aria-label=\"[^\"]*\")[^>]*?( viewBox=\"[^\"]*\")[^>]*>": r"\1\2>",
    r"<metadata>.*?</metadata>|<style.*?</style>": "",
    r"<g id=\"[^\"]*\"": "<g",  # names of parts, the same in every figure
    r"font-family: [^;\"]*": "font-family: var(--sans)",
    r"\s*\n\s*": "\n",
} | {colour: f"var({variable})" for colour, variable in _VARIABLES.items()}
"""What turns matplotlib's file into an element of a page: pattern to replacement."""


def plot_curves(curves: Sequence[Curve], *, x_label: str, y_label: str, log_x: bool = False) -> Chart:
    """Curves in one panel, with their names above it."""
    figure, (axes,) = blank(1, 1)
    for (dash, colour), curve in zip(cycle(STYLES), curves, strict=False):
        style: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": 1.6, "markersize": 3.5}
        style["label"] = curve.label
        if curve.error is None:
            axes.plot(curve.x, curve.y, **style, marker="o" if len(curve.x) == 1 else "")
        else:
            axes.errorbar(curve.x, curve.y, curve.error, **style, marker="o", capsize=2.5, elinewidth=1)
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.minorticks_off()
    labelled(axes, x_label, y_label)
    leave_out_the_start(axes, [curve.y for curve in curves])
    return Chart(figure)


def plot_sorted(groups: Sequence[tuple[str, Sequence[float]]], threshold: float, *, of: str, y_label: str) -> Chart:
    """The numbers of each group in order, against the percent of them all, with the threshold they are held against."""
    curves = [Curve(label, np.linspace(0, 100, len(y) + 1)[1:].tolist(), sorted(y)) for label, y in groups]
    limit = Curve(f"threshold {short(threshold, 2)}", [0, 100], [threshold] * 2)
    return plot_curves([*curves, limit], x_label=f"percent of the {of}", y_label=y_label)


def plot_bars(heights: Mapping[int, float], *, x_label: str, y_label: str) -> Chart:
    """A bar at each x."""
    figure, (axes,) = blank(1, 1)
    bars(axes, {"": list(heights.items())})
    count_across(axes)
    labelled(axes, x_label, y_label)
    return Chart(figure)


def bars(axes: Axes, groups: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Bars at (x, height), each group in its colour; an empty one takes up a colour alone."""
    for colour, (label, group) in zip(cycle(SERIES), groups.items(), strict=False):
        if group:
            axes.bar([x for x, _ in group], [height for _, height in group], width=0.8, color=colour, label=label)


def count_across(axes: Axes) -> None:
    """The horizontal axis counts things: it is labelled by whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def plot_panels(panels: Mapping[str, Sequence[Vectors]], *, columns: int = 2, shared: bool = True) -> Chart:
    """A panel for each title, all on the same scales where ``shared``, points in the plane with the same both ways; at
    most ``columns`` in a row."""
    columns = min(columns, len(panels))
    figure, cells = blank(-(-len(panels) // columns), columns, shared=shared)
    if any(group.rows.shape[1] == 2 for groups in panels.values() for group in groups):
        figure.set_layout_engine("compressed")
        for axes in cells:
            axes.set_aspect("equal", adjustable="box")
    for axes, (title, groups) in zip(cells, panels.items(), strict=False):
        axes.set_title(title, fontsize=TEXT, color=INK, loc="left")
        for group in groups:
            _draw_vectors(axes, group)
            if group.rows.shape[1] > 2:
                figure.supxlabel("feature", color=INK, fontsize=TEXT)
    for axes in cells[len(panels) :]:
        axes.remove()
    return Chart(figure)


def plot_texts(texts: Sequence[str]) -> Chart:
    """Texts below each other, each on lines as long as two panels are wide."""
    lines = [line for text in texts for line in textwrap.wrap(text, 2 * _LETTERS) or [""]]
    figure, (axes,) = blank(1, 1, (2 * WIDTH, 0.1 + 0.155 * len(lines)))
    axes.axis("off")
    axes.text(0, 1, "\n".join(lines), va="top", fontsize=TEXT, color=INK, parse_math=False)
    return Chart(figure)


def blank(
    rows: int, columns: int, size: tuple[float, float] | None = None, *, shared: bool = True
) -> tuple[Figure, list[Axes]]:
    """An empty figure in the house style, and its panels row by row; ``size`` in inches, None: by the panels."""
    from matplotlib.figure import Figure

    usual = (WIDTH, 2.6) if rows * columns == 1 else (WIDTH * columns / 2, 1.7 * rows + 0.2)
    figure = Figure(figsize=size or usual, layout="constrained")
    cells = list(figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False).flat)
    for axes in cells:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(colors=INK, labelsize=TEXT, color=FAINT)
        axes.xaxis.label.set(color=INK, size=TEXT)
        axes.yaxis.label.set(color=INK, size=TEXT)
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, cells


def _draw_vectors(axes: Axes, group: Vectors) -> None:
    values = group.rows.cpu().numpy()  # (num, D)
    style: dict[str, Any] = {"color": SERIES[group.series], "alpha": group.opacity}
    if values.shape[1] == 1:
        axes.hist(values[:, 0], bins=30, density=True, histtype="step", **style)
    elif values.shape[1] == 2:
        axes.plot(values[:, 0], values[:, 1], group.marker or ".", markersize=8 if group.marker else 4, **style)
    else:
        style |= {"linewidth": 1.2, "marker": group.marker, "markersize": 3.5}
        axes.plot(values.T, **style, rasterized=values.shape[1] > _LONG)


def labelled(axes: Axes, x_label: str, y_label: str) -> None:
    """Names the axes, and above the panel what is drawn in it; not a single thing."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": _across(labels)}
        axes.legend(handles, labels, **place, frameon=False, fontsize=TEXT, labelcolor=INK, borderpad=0.2)


def _across(labels: Sequence[str]) -> int:
    """How many names fit above a panel side by side."""
    longest = max(map(len, labels))
    return max(1, min(len(labels), _LETTERS // (longest + 8)))


def leave_out_the_start(axes: Axes, curves: Sequence[Sequence[float]]) -> None:
    """Where the first tenth of the curves would flatten all the rest, the frame is that of the rest."""
    every = [y for curve in curves for y in curve]
    rest = [y for curve in curves for y in curve[len(curve) // 10 :]]
    room = 0.06 * (max(rest) - min(rest))
    if max(every) - min(every) > 2 * (max(rest) - min(rest)) > 0:
        axes.set_ylim(min(rest) - room, max(rest) + room)
