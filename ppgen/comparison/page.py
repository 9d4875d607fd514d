"""A comparison as one HTML page that needs no other file and loads nothing, and as CSV files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppgen.comparison.charts import brief, plot_bias, plot_cost, plot_signal, plot_training
from ppgen.comparison.curves import Curves
from ppgen.comparison.records import EXACT, ObjectiveResult, PointResult
from ppgen.comparison.result import Comparison
from ppgen.comparison.slopes import families
from ppgen.comparison.words import when
from ppgen.files.writing import write_whole
from ppgen.measuring.statistics import Interval
from ppgen.pages import templates as pages
from ppgen.pages.elements import Section, figure_of, texts
from ppgen.pages.numbers import counted, number, short, signed

__all__ = [
    "TRAINED",
    "csv_of",
    "evidence_of_bias",
    "render",
    "spread",
    "table_of",
    "trained_table",
    "when",
    "write_page",
]

_HEADER = ("objective", "block", "bias", "z", "verdict", "variance", "SNR", "variance × s", "ms")


def write_page(
    comparison: Comparison,
    path: str | Path,
    *,
    title: str = "Estimators",
    curves: Sequence[Curves] = (),
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page of a comparison and return where it is.

    Args:
        comparison: what :func:`ppgen.compare` gave.
        path: of the page.
        title: what was compared.
        curves: of trainings, from :func:`ppgen.comparison.curves.train_each`.
        config: what makes the comparison again, shown at the end.

    Raises:
        UsageError: the place cannot be written.
    """
    target = Path(path)
    write_whole(target, render(comparison, title, curves, config).encode())
    return target


def render(
    comparison: Comparison, title: str, curves: Sequence[Curves] = (), config: Mapping[str, Any] | None = None
) -> str:
    """The page as text."""
    sections = [section for point in comparison.points for section in _of_point(point, comparison)]
    sections += [*_training(curves), *_configuration(config or {})]
    return pages.render(
        "comparison.html",
        title=title,
        subtitle=_subtitle(comparison),
        lead=brief(comparison.lead),
        words=brief(comparison.words()).split("\n\n"),
        sections=sections,
    )


def csv_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows with the same keys as the text of a CSV file; None is an empty cell."""
    rows, text = list(rows), io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def table_of(point: PointResult) -> list[tuple[str, ...]]:
    """The numbers of one point of training, a row for each objective and block; what repeats is left out."""
    return [
        (
            "" if index else brief(one.label),
            block.name,
            "" if block.bias is None else f"{signed(100 * block.bias.along.value)}%",
            "" if block.bias is None else signed(block.bias.z),
            block.verdict,
            spread(block.variance),
            spread(block.snr),
            short(block.work.value),
            "" if index else short(1000 * one.seconds.value),
        )
        for one in point.objectives
        for index, block in enumerate(one.blocks)
    ]


def spread(interval: Interval) -> str:
    """A value, and half the width of its interval in percent of it; of a value of zero the upper end alone."""
    if not interval.value > 0:
        return f"< {short(interval.high)}" if interval.high > 0 else "0"
    half = 50 * (interval.high - interval.low) / interval.value
    return f"{short(interval.value)} ± {short(half, 1)}%" if math.isfinite(half) else short(interval.value)


def evidence_of_bias(one: ObjectiveResult) -> str:
    """The z-score that stands out most, and its block; empty where nothing was tested."""
    worst = min(one.biases, key=lambda block: one.biases[block].p_value, default=None)
    return "" if worst is None else f"z {signed(one.biases[worst].z)} in {worst}"


def _subtitle(comparison: Comparison) -> str:
    num = len(comparison.points[0].objectives)
    data = counted(comparison.num_data, "datum", "data")
    return f"{counted(num, 'estimator')} of the gradient of a bound, on a batch of {data}"


def _of_point(point: PointResult, comparison: Comparison) -> Iterator[Section]:
    suffix = f" {when(point)}" if len(comparison.points) > 1 else ""
    yield _bias(point, comparison, suffix)
    yield _cost(point, comparison, suffix)
    if families(point.objectives):
        yield _signal(point, suffix)
    yield _bounds(point, suffix)
    yield _numbers(point, comparison, suffix)


def _bias(point: PointResult, comparison: Comparison, suffix: str) -> Section:
    tested = [one for one in point.objectives if one.reference is not None]
    if not tested:
        return Section(f"Bias{suffix}", f"Nothing was tested: {point.why_not_exact or 'there is no reference.'}")
    rate = comparison.options.false_alarm
    chart = plot_bias(tested, rate / max(1, comparison.num_tests))
    references = {one.reference for one in tested}
    against = "the exact gradient" if references == {EXACT} else "the reference that stands beside its value below"
    text = (
        f"Each mark is one block of parameters, held against {against}. Filled: the error along the gradient; open: in "
        "whatever direction the first half of the draws suggests. Beyond a dashed line the estimator is biased: with "
        f"probability {1 - rate:.4g} no unbiased one lies there, of {counted(comparison.num_tests, 'test')}."
    )
    alt = " ".join(f"{one.label}: {one.verdict}, {evidence_of_bias(one)}." for one in tested)
    return Section(f"Bias{suffix}", text, (figure_of(chart, f"Bias {when(point)}. {alt}"),))


def _cost(point: PointResult, comparison: Comparison, suffix: str) -> Section:
    bounds = dict.fromkeys(one.bound_name for one in point.objectives)
    groups = {bound: [one for one in point.objectives if one.bound_name == bound] for bound in bounds}
    text = (
        "Variance is the trace of the covariance of one gradient of the loss per datum. The stepped line is the Pareto "
        "front: no other unbiased estimator of the same bound is better at both. On the dotted line the same time buys "
        "the same error as with the best; above it, less. Hollow marks are biased, or say that they may be. Bars are "
        f"{100 * comparison.options.level:g}% intervals; gradients of different bounds have variances of different "
        "things, and stand apart."
    )
    figures = tuple(
        figure_of(plot_cost(group), _cost_in_words(bound, group, point), _bound_caption(bound, point))
        for bound, group in groups.items()
        if any(one.whole.variance.value > 0 for one in group)
    )
    certain = [brief(one.label) for one in point.objectives if not one.whole.variance.value > 0]
    left_out = f" Without variance, and not drawn: {', '.join(certain)}." if certain else ""
    return Section(f"Variance against cost{suffix}", text + left_out, figures)


def _cost_in_words(bound: str | None, group: Iterable[ObjectiveResult], point: PointResult) -> str:
    each = [f"{o.label}: variance {spread(o.whole.variance)}, {short(1e3 * o.seconds.value)} ms." for o in group]
    return f"Variance against time {when(point)}, {bound or 'no bound of log-weights'}. {' '.join(each)}"


def _bound_caption(bound: str | None, point: PointResult) -> str:
    if bound is None:
        return "Estimators of what is no bound of log-weights."
    best = point.best.get(bound)
    verdict = "None is known to be unbiased." if best is None else f"Cheapest for its variance: {best}."
    return brief(f"Estimators of {bound}. {verdict}")


def _signal(point: PointResult, suffix: str) -> Section:
    named = {block.name for one in point.objectives for block in one.blocks}
    blocks = sorted(named & {"model", "guide"}, reverse=True) or ["all"]
    text = (
        "The ratio of the length of the mean gradient to the square root of the variance of one gradient. A ratio "
        "that falls with K means that more particles make the bound tighter and its gradient less certain."
    )
    figures = tuple(
        figure_of(plot_signal(point.objectives, block), f"Signal to noise of {block} against particles, {when(point)}.")
        for block in blocks
    )
    return Section(f"Signal to noise{suffix}", text, figures)


def _bounds(point: PointResult, suffix: str) -> Section:
    evidence, text = point.evidence, ""
    if evidence is not None:
        reference = f"a reference and not exact: the bound of {counted(evidence.num_particles or 0, 'particle')}"
        how = evidence.how if evidence.is_exact else reference
        text = f"log p(x) = {number(evidence.value)} nats per datum ({how})."
    header = ("objective", "estimates", "value, nats", "standard error", "bias from")
    rows = (
        (brief(one.label), brief(one.bound_name or ""), number(one.bound.value), short(one.standard_error), of)
        for one, of in ((one, brief(one.reference or "–")) for one in point.objectives)
    )
    return Section(f"Values{suffix}", text, table=(header, *rows), text_columns=(0, 1, 4))


def _numbers(point: PointResult, comparison: Comparison, suffix: str) -> Section:
    draws = sorted({one.draws for one in point.objectives})
    num = " to ".join(f"{num:,}" for num in dict.fromkeys((draws[0], draws[-1])))
    text = (
        f"{num} gradients of each estimator, in {comparison.repeats} independent groups; ± is half a "
        f"{100 * comparison.options.level:g}% interval. Bias is the relative error along the gradient, z the score "
        "that stands out most."
    )
    return Section(f"Gradients{suffix}", text, table=(_HEADER, *table_of(point)), text_columns=(0, 1, 4))


def _training(curves: Sequence[Curves]) -> Iterator[Section]:
    if not curves:
        return
    seeds = max(len(one.likelihoods) + len(one.failures) for one in curves)
    text = (
        f"Each estimator trained a fresh pair from {counted(seeds, 'seed')}. Lines are means over seeds, "
        "bands reach from the least to the greatest; seconds are those of training, without those that compiling took. "
        "Each curve is the objective's own bound on the validation data, "
        "so that only curves of one figure can be compared; the table has its last values on training and validation "
        "data, and one number that means the same for all: log p(x) of validation data after training, by "
        f"{_by(curves[0].particles)}."
    )
    drawable = [one for one in curves if one.bounds]
    figures = []
    for bound in dict.fromkeys(one.bound_name for one in drawable):
        group = [one for one in drawable if one.bound_name == bound]
        ends = " ".join(f"{one.label}: {number(one.mean[-1])} at last." for one in group)
        what = "Values that are no bound of log p(x)" if bound is None else brief(bound)
        for unit in ("steps", "seconds"):
            alt, caption = f"{what} against {unit}. {ends}", f"{what}, against {unit}."
            figures.append(figure_of(plot_training(group, unit), alt, caption))
    yield Section("Training", text, tuple(figures), table=(TRAINED, *trained_table(curves)), text_columns=(0, 6))


def _by(particles: int | None) -> str:
    if particles is None:
        return "annealing from the prior: some estimator leaves the guide as it was, whose bound would say nothing"
    return f"the bound of {counted(particles, 'particle')}"


TRAINED = ("objective", "steps", "train", "valid", "log p(x), nats", "least to greatest", "")


def trained_table(curves: Iterable[Curves]) -> list[tuple[str, ...]]:
    """Where trainings ended: bounds, log p(x) of the validation data, its range over seeds, and what stopped one."""
    return [_trained(one) for one in curves]


def _trained(one: Curves) -> tuple[str, ...]:
    name, stopped = brief(one.label), one.failures[0] if one.failures else ""
    if one.likelihood is None:
        return name, "", "", "", "–", "", stopped
    bounds = ("–", "–") if one.last_bounds is None else map(number, one.last_bounds)
    several = len(one.likelihoods) > 1
    ends = f"{number(min(one.likelihoods))} to {number(max(one.likelihoods))}" if several else ""
    return name, f"{one.steps[-1]:,}", *bounds, number(one.likelihood), ends, stopped


def _configuration(config: Mapping[str, Any]) -> Iterator[Section]:
    groups = {title: value for title, value in config.items() if isinstance(value, Mapping)}
    if groups:
        yield Section("Configuration", facts={title: texts(group) for title, group in groups.items()}, wide=True)
