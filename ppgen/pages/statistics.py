"""Charts of statistics: curves against a band, quantile intervals side by side, and stacked bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from ppgen.pages.charts import FAINT, INK, SERIES, STYLES, TEXT, WIDTH, Chart, bars, blank, count_across, labelled

__all__ = [
    "plot_in_band",
    "plot_intervals",
    "plot_layers",
    "plot_map",
    "plot_scores",
    "plot_spreads",
    "plot_stacks",
    "plot_table",
]

_ROW = 0.45
"""Inches of height for a row of intervals."""

_LEVEL = 5
"""Letters of a column's name that stand level; longer ones stand upright."""


def plot_in_band(
    x: Sequence[float],
    lower: Sequence[float],
    upper: Sequence[float],
    groups: Mapping[str, Sequence[Sequence[float]]],
    *,
    band: str,
    x_label: str,
    y_label: str,
) -> Chart:
    """Curves over x, each group of them in its colour, against the band from ``lower`` to ``upper`` named ``band``."""
    figure, (axes,) = blank(1, 1)
    axes.fill_between(x, lower, upper, color=FAINT, linewidth=0, label=band)
    for (dash, colour), (label, curves) in zip(cycle(STYLES), groups.items(), strict=False):
        for index, y in enumerate(curves):
            axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.2, label=label if index == 0 else None)
    labelled(axes, x_label, y_label)
    return Chart(figure)


def plot_intervals(
    rows: Sequence[str], groups: Mapping[str, Sequence[Sequence[float]]], *, x_label: str, width: float = WIDTH
) -> Chart:
    """For each row and each group a line between outer quantiles, a thick one between inner ones, and the median.

    ``groups`` gives the five quantiles of every row, ascending; the first row stands on top. ``width``
    is in inches.
    """
    figure, (axes,) = blank(1, 1, (width, 0.9 + _ROW * len(rows)))
    for index, (colour, (label, quantiles)) in enumerate(zip(cycle(SERIES), groups.items(), strict=False)):
        y = [row + 0.2 * (index - (len(groups) - 1) / 2) for row in range(len(rows))]
        low, first, median, third, high = zip(*quantiles, strict=True)
        style: dict[str, Any] = {"color": colour}
        axes.hlines(y, low, high, **style, linewidth=1)
        axes.hlines(y, first, third, **style, linewidth=3.2)
        axes.plot(median, y, "o", **style, markersize=4.5, label=label)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    labelled(axes, x_label, "")
    return Chart(figure)


def plot_stacks(groups: Mapping[str, Sequence[float]], *, x_label: str, y_label: str) -> Chart:
    """Bars at 1, 2, ... of the groups' heights, one upon the other; what is negative hangs below zero."""
    figure, (axes,) = blank(1, 1)
    size = max(map(len, groups.values()))
    above, below = [0.0] * size, [0.0] * size
    for colour, (label, heights) in zip(cycle(SERIES), groups.items(), strict=False):
        bottoms = [up if height >= 0 else down for height, up, down in zip(heights, above, below, strict=True)]
        axes.bar(range(1, size + 1), heights, bottom=bottoms, width=0.8, color=colour, label=label)
        above = [up + max(height, 0.0) for up, height in zip(above, heights, strict=True)]
        below = [down + min(height, 0.0) for down, height in zip(below, heights, strict=True)]
    count_across(axes)
    axes.axhline(0, color=INK, linewidth=0.6)
    labelled(axes, x_label, y_label)
    return Chart(figure)


def plot_scores(rows: Sequence[str], scores: Sequence[float], *, x_label: str) -> Chart:
    """A mark for each row at its distance from a mean, in standard deviations, against bands of one and of two."""
    figure, (axes,) = blank(1, 1, (WIDTH, 0.9 + 0.6 * _ROW * len(rows)))
    for half, opacity in ((2, 0.5), (1, 1.0)):
        axes.axvspan(-half, half, color=FAINT, alpha=opacity, linewidth=0, zorder=0)
    axes.axvline(0, color=INK, linewidth=0.6)
    for colour, inside in zip(SERIES, (True, False), strict=False):
        group = [(score, row) for row, score in enumerate(scores) if (abs(score) <= 2) is inside]
        axes.plot([score for score, _ in group], [row for _, row in group], "o", color=colour, markersize=4.5)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(x_label)
    return Chart(figure)


def plot_spreads(groups: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str, y_label: str) -> Chart:
    """At 0, 1, 2, ... of each group a centre with a bar of its spread to each side; nothing joins what has no order."""
    figure, (axes,) = blank(1, 1)
    for index, (colour, (label, spreads)) in enumerate(zip(cycle(SERIES), groups.items(), strict=False)):
        x = [place + 0.3 * (index - (len(groups) - 1) / 2) for place in range(len(spreads))]
        centres, halves = zip(*spreads, strict=True)
        style: dict[str, Any] = {"fmt": "o", "color": colour, "markersize": 3.5, "elinewidth": 1.4}
        axes.errorbar(x, centres, halves, **style, label=label)
    count_across(axes)
    labelled(axes, x_label, y_label)
    return Chart(figure)


def plot_layers(
    layers: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], *, x_label: str, y_label: str
) -> Chart:
    """For each title a panel of bars at (x, height), each group in its colour, all panels of the same height."""
    figure, cells = blank(len(layers), 1, (WIDTH, 0.8 + 1.6 * len(layers)), shared=False)
    most = max(height for groups in layers.values() for group in groups.values() for _, height in group)
    for axes, (title, groups) in zip(cells, layers.items(), strict=True):
        axes.set_title(title, fontsize=TEXT, color=INK, loc="left")
        bars(axes, groups)
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.05 * max(most, 1e-9))
        count_across(axes)
        axes.set_ylabel(y_label)
    cells[-1].set_xlabel(x_label)
    return Chart(figure)


def plot_map(places: Sequence[Sequence[float]], sizes: Sequence[float], names: Sequence[str]) -> Chart:
    """Named marks in the plane, the same scale both ways, each of an area in proportion to its size."""
    figure, (axes,) = blank(1, 1, (WIDTH, 0.8 * WIDTH))
    most = max(sizes)
    areas = [10 + 500 * size / most for size in sizes]
    across, up = zip(*places, strict=True)
    axes.scatter(across, up, s=areas, color=SERIES[0], alpha=0.35, linewidths=0)
    for (x, y), name in zip(places, names, strict=True):
        axes.annotate(name, (x, y), ha="center", va="center", fontsize=TEXT - 1, color=INK)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.1)
    return Chart(figure)


def plot_table(rows: Mapping[str, Sequence[float]], columns: Sequence[str], *, x_label: str, y_label: str) -> Chart:
    """A cell for each row and column, darker for a larger share, which stands in it in percent.

    Args:
        rows: shares in [0, 1] by the row's name, a number a column, not all 0; the first row stands on top.
        columns: their names.
    """
    from matplotlib.patches import Rectangle

    longest, most = max(map(len, columns)), max(map(max, rows.values()))
    size = (max(WIDTH, 0.9 + 0.5 * len(columns)), 1.1 + 0.28 * len(rows) + 0.07 * (longest if longest > _LEVEL else 0))
    figure, (axes,) = blank(1, 1, size)
    axes.grid(visible=False)
    for row, shares in enumerate(rows.values()):
        for column, share in enumerate(shares):
            cell = Rectangle((column - 0.5, row - 0.5), 1, 1, color=SERIES[0], alpha=0.6 * share / most, linewidth=0)
            axes.add_patch(cell)
            axes.annotate(f"{100 * share:.0f}", (column, row), ha="center", va="center", fontsize=TEXT, color=INK)
    axes.set_xticks(range(len(columns)), columns, rotation=90 if longest > _LEVEL else 0)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    labelled(axes, x_label, y_label)
    return Chart(figure)
