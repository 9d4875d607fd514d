"""The drawings of a comparison: bias, variance against cost, signal to noise against particles, training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from ppgen.comparison.curves import Curves
from ppgen.comparison.front import pareto_front
from ppgen.comparison.records import BlockResult, ObjectiveResult
from ppgen.comparison.slopes import families
from ppgen.measuring.statistics import Interval, normal_score
from ppgen.pages.charts import FAINT, INK, SERIES, STYLES, TEXT, Chart, blank, labelled, leave_out_the_start
from ppgen.pages.numbers import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["brief", "plot_bias", "plot_cost", "plot_signal", "plot_training"]

GOOD, BAD = SERIES[0], SERIES[1]
_WIDTH = 6.2


def plot_bias(objectives: Sequence[ObjectiveResult], false_alarm: float) -> Chart:
    """The z-scores of every tested objective's blocks, one row an objective; beyond the dashed lines there is a bias.

    Args:
        objectives: those that were tested.
        false_alarm: of one test: the family-wise rate shared out over all tests.
    """
    figure, (axes,) = blank(1, 1, (_WIDTH, 0.9 + 0.34 * len(objectives)))
    limit = normal_score(false_alarm)
    for row, one in enumerate(objectives):
        _bias_row(axes, row, one)
    for side in (-limit, limit):
        axes.axvline(side, color=INK, linewidth=0.9, linestyle="--")
    axes.axvline(0, color=FAINT, linewidth=0.9)
    axes.set_xscale("symlog", linthresh=limit)
    axes.set_xlim(*_room([score for one in objectives for score in _scores(one)], limit))
    ticks = [tick for tick in (-30, -10, -limit, -2, 0, 2, limit, 10, 30) if _inside(axes, tick)]
    axes.set_xticks(ticks, [*map(short, ticks)])
    axes.minorticks_off()
    axes.set_yticks(range(len(objectives)), [brief(one.label) for one in objectives])
    axes.set_ylim(len(objectives) - 0.5, -0.5)
    axes.set_xlabel("z-score of the bias")
    return Chart(figure)


def plot_cost(objectives: Sequence[ObjectiveResult]) -> Chart:
    """Variance against milliseconds a draw, both logarithmic, with the Pareto front: objectives of one bound.

    A dotted line joins all points of the same work as the best: what lies above it needs longer for the same error.
    """
    figure, (axes,) = blank(1, 1, (_WIDTH, max(3.4, 0.9 + 0.3 * len(objectives))))
    shown = [one for one in objectives if one.whole.variance.value > 0]
    front = pareto_front(shown)
    for one in shown:
        style: dict[str, Any] = {"color": GOOD if one.fits else BAD, "markersize": 6.5 if one in front else 5}
        x, y = _milliseconds(one), one.whole.variance
        axes.errorbar(
            [x.value], [y.value], _bar(y), _bar(x), fmt="o", elinewidth=0.8, mfc=None if one.fits else "none", **style
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.step([_milliseconds(one).value for one in front], [one.whole.variance.value for one in front], **_FRONT)
    _same_work(axes, shown)
    _plain_ticks(axes, x=True)
    labelled(axes, "milliseconds a gradient", "variance")
    _name(
        axes,
        [(_milliseconds(one).value, one.whole.variance.value, one.label, INK if one.fits else BAD) for one in shown],
    )
    return Chart(figure)


def plot_signal(objectives: Sequence[ObjectiveResult], block: str) -> Chart:
    """The signal-to-noise ratio of a block against the number of particles K, a curve for each family."""
    figure, (axes,) = blank(1, 1, (_WIDTH, 3.2))
    ends = []
    for (dash, colour), (name, members) in zip(cycle(STYLES), families(objectives).items(), strict=False):
        found = [(one.num_particles or 1, _block(one, block).snr) for one in members]
        points = [(number, ratio) for number, ratio in found if 0 < ratio.value < math.inf]
        if not points:
            continue
        numbers, ratios = [number for number, _ in points], [ratio for _, ratio in points]
        bars = [[r.value - r.low for r in ratios], [r.high - r.value for r in ratios]]
        style: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": 1.6, "markersize": 3.5}
        axes.errorbar(numbers, [r.value for r in ratios], bars, marker="o", capsize=2.5, elinewidth=0.9, **style)
        ends.append((numbers[-1], ratios[-1].value, name, colour))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted({one.num_particles or 1 for group in families(objectives).values() for one in group}))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.minorticks_off()
    _plain_ticks(axes)
    labelled(axes, "particles K", "signal to noise" if block == "all" else f"signal to noise, {block}")
    _name(axes, ends)
    return Chart(figure)


def plot_training(curves: Sequence[Curves], unit: str) -> Chart:
    """Validation bounds against ``steps`` or ``seconds``: means over seeds, bands from least to greatest."""
    figure, (axes,) = blank(1, 1, (_WIDTH, 3.6))
    ends = []
    for (dash, colour), one in zip(cycle(STYLES), curves, strict=False):
        x = one.steps if unit == "steps" else one.mean_seconds
        axes.fill_between(x, *one.band, color=colour, alpha=0.16, linewidth=0)
        axes.plot(x, one.mean, color=colour, linestyle=dash, linewidth=1.6)
        ends.append((x[-1], one.mean[-1], one.label, colour))
    leave_out_the_start(axes, [side for one in curves for side in one.band])
    labelled(axes, unit, "validation bound, nats per datum")
    _name(axes, ends)
    return Chart(figure)


def brief(text: str) -> str:
    """The text with K for ``num_particles``."""
    return text.replace("num_particles=", "K=")


_FRONT: dict[str, Any] = {"where": "post", "color": GOOD, "linewidth": 1.2, "zorder": 1}


def _bias_row(axes: Axes, row: int, one: ObjectiveResult) -> None:
    for block, height in zip(one.blocks, _spread(len(one.blocks)), strict=True):
        if block.bias is None:
            continue
        colour = BAD if block.verdict == "biased" else GOOD
        style: dict[str, Any] = {"color": colour, "markersize": 4.5, "linestyle": ""}
        axes.plot([block.bias.z_along], [row + height], marker="o", **style)
        axes.plot([block.bias.z_across], [row + height], marker="D", mfc="none", markeredgewidth=0.9, **style)


def _scores(one: ObjectiveResult) -> Iterator[float]:
    for bias in one.biases.values():
        yield from (bias.z_along, bias.z_across)


def _room(scores: Sequence[float], limit: float) -> tuple[float, float]:
    least, most = min([*scores, -limit]), max([*scores, limit])
    return 1.25 * least, 1.25 * most


def _inside(axes: Axes, x: float) -> bool:
    low, high = axes.get_xlim()
    return low <= x <= high


def _spread(num: int) -> list[float]:
    """Heights of so many marks within a row."""
    return [0.0] if num == 1 else [0.5 * (i / (num - 1) - 0.5) for i in range(num)]


def _milliseconds(one: ObjectiveResult) -> Interval:
    return Interval(*(1000 * end for end in (one.seconds.value, one.seconds.low, one.seconds.high)))


def _bar(interval: Interval) -> list[list[float]]:
    """Lengths of an error bar that stays on a logarithmic axis."""
    return [[interval.value - max(interval.low, 0.01 * interval.value)], [interval.high - interval.value]]


def _same_work(axes: Axes, objectives: Iterable[ObjectiveResult]) -> None:
    best = min((one for one in objectives if one.fits), key=lambda one: one.whole.work.value, default=None)
    if best is not None:
        axes.autoscale(False)
        work = _milliseconds(best).value * best.whole.variance.value
        ends = axes.get_xlim()
        axes.plot(ends, [work / x for x in ends], color=INK, linewidth=0.9, linestyle=":", zorder=0)


def _block(one: ObjectiveResult, name: str) -> BlockResult:
    return next((block for block in one.blocks if block.name == name), one.whole)


def _plain_ticks(axes: Axes, *, x: bool = False) -> None:
    """Numbers as they are said, as many as the decades that are seen leave room for."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis) if x else (axes.yaxis,):
        low, high = axis.get_view_interval()
        decades = math.log10(high / low)
        few = MaxNLocator(6) if decades < 0.4 else LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5))
        axis.set_major_locator(few if decades < 2.5 else LogLocator(subs=(1,)))
        axis.set_major_formatter(FuncFormatter(_said))
        axis.set_minor_formatter(NullFormatter())


def _said(value: float, place: int | None) -> str:
    return f"{value:,.6g}" if 1e-3 <= value < 1e5 else f"{value:.0e}"


def _name(axes: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Names in a column to the right, each with a thin line to its point, none over another."""
    if not points:
        return
    figure: Any = axes.figure
    figure.draw_without_rendering()  # the layout is known from here on
    height = axes.get_window_extent().height
    to_axes = axes.transData + axes.transAxes.inverted()
    ordered = sorted(((*to_axes.transform((x, y)), text, colour) for x, y, text, colour in points), key=lambda p: p[1])
    gap = 14 * figure.dpi / 100 / height * 1.1
    for (x, y, text, colour), place in zip(ordered, _apart([y for _, y, _, _ in ordered], gap), strict=True):
        axes.annotate(
            brief(text),
            (min(x, 1.0), min(max(y, 0.0), 1.0)),
            (1.03, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            fontsize=TEXT,
            va="center",
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3},
        )


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Rising places, moved apart to at least ``gap``, and together moved back to their mean."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    shift = sum(m - p for m, p in zip(moved, places, strict=True)) / len(places)
    return [place - shift for place in moved]
