"""A sweep as one HTML page that needs no other file and loads nothing, and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ppgen.errors import cut
from ppgen.measuring.statistics import Interval
from ppgen.pages import templates as pages
from ppgen.pages.elements import Section, figure_of, texts
from ppgen.pages.numbers import counted, number, short
from ppgen.pages.statistics import plot_intervals
from ppgen.sweeps.result import LEVEL, Cell, Sweep

__all__ = ["columns", "render", "row"]

_DRAWN = 30
"""Cells in a figure, at most."""

_WIDTH = 6.2
"""Inches of a figure."""

_LONGEST = 32
"""Characters of a cell's name in a figure."""


def render(found: Sweep) -> str:
    """The page as text."""
    plan = found.plan
    sections = [*_intervals(found), _table(found), *_failures(found), *_configuration(found)]
    model, runs = str(plan["model"]).rpartition(":")[2], f"{found.num_done} of {len(found.runs)} runs done"
    return pages.render(
        "sweep.html",
        title=f"{model} on {plan['data']}",
        subtitle=f"{runs}: {counted(len(found.cells), 'cell')}, {counted(plan['seeds'], 'seed')} each",
        lead=found.verdict,
        words=found.missing,
        sections=sections,
    )


def columns(found: Sweep) -> tuple[str, ...]:
    """The heads of a table with a row for each cell."""
    return (*found.plan["grid"], "seeds", "log p(x), nats", f"{LEVEL:.0%} interval", "seconds", "")


def row(cell: Cell, found: Sweep) -> tuple[str, ...]:
    """A cell's options, how many of its seeds are done, their log-likelihood and seconds, and what there is to say."""
    likelihood, seconds = cell.likelihood, cell.seconds
    numbers = (
        ("–", "", "") if likelihood is None else (number(likelihood.value), _ends(likelihood), short(seconds or 0))
    )
    seeds = f"{len(cell.done)} of {len(cell.runs)}"
    return (*map(str, cell.options.values()), seeds, *numbers, _remark(cell, found))


def _remark(cell: Cell, found: Sweep) -> str:
    failed = f"{len(cell.failed)} failed" if cell.failed else ""
    standing = "best" if cell is found.best else failed or ("may be as good" if cell in found.as_good else "")
    chains = "" if cell.effective_chains is None else f"log Z by chains worth {cell.effective_chains:.0f}"
    return ", ".join(filter(None, (standing, chains)))


def _ends(interval: Interval) -> str:
    return f"{number(interval.low)} to {number(interval.high)}" if math.isfinite(interval.low) else "–"


def _intervals(found: Sweep) -> Iterator[Section]:
    drawable = [(cell, cell.likelihood) for cell in found.ranked if cell.likelihood is not None][:_DRAWN]
    if not drawable:
        return
    spans = [(i.low, i.high) if math.isfinite(i.low) else (i.value, i.value) for _, i in drawable]
    quantiles = [(low, i.value, i.value, i.value, high) for (low, high), (_, i) in zip(spans, drawable, strict=True)]
    labels = [cell.label for cell, _ in drawable]
    chart = plot_intervals(
        [cut(label, _LONGEST) for label in labels],
        {"": quantiles},
        x_label=f"{found.measured}, nats per datum",
        width=_WIDTH,
    )
    said = " ".join(f"{label}: {number(q[2])}." for label, q in zip(labels, quantiles, strict=True))
    text = (
        f"The mean over seeds of each cell, the best first, with its {LEVEL:.0%} interval of what chance does in "
        "training (Student's t over seeds), on the same data. "
    )
    first = f"The first {_DRAWN} of {len(found.cells)} cells." if len(drawable) < len(found.cells) else ""
    yield Section("Cells", text + first, (figure_of(chart, f"Log-likelihoods. {said}"),))


def _table(found: Sweep) -> Section:
    rows = (row(cell, found) for cell in found.ranked)
    num = len(found.plan["grid"])
    text = "Seconds are those of training a run, the mean over seeds."
    return Section("Numbers", text, table=(columns(found), *rows), text_columns=(*range(num), num + 4))


def _failures(found: Sweep) -> Iterator[Section]:
    failed = [(cell.label, str(run.seed), run.sentence) for cell in found.cells for run in cell.failed]
    if failed:
        yield Section("Runs that failed", table=(("cell", "seed", "why"), *failed), text_columns=(0, 2))


def _configuration(found: Sweep) -> Iterator[Section]:
    own = {key: value for key, value in found.plan.items() if not isinstance(value, Mapping)}
    groups = {"for all runs": own, **{key: value for key, value in found.plan.items() if isinstance(value, Mapping)}}
    yield Section("Configuration", facts={title: texts(group) for title, group in groups.items() if group}, wide=True)
