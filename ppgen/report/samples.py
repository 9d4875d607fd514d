"""Sections of the report on samples: what the model makes by itself, at the end and over training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ppgen.draws.samples import reconstructions
from ppgen.pages.charts import Vectors, draw_panels
from ppgen.pages.pictures import grid
from ppgen.pairs.rows import take_rows

if TYPE_CHECKING:
    from ppgen.runs.run import Run
from typing import TYPE_CHECKING

from ppgen.chains.sweeps import SWEEPS
from ppgen.draws.samples import conditions, prior_samples
from ppgen.pages.elements import COLUMNS, Figure, drawn, picture
from ppgen.report.parts import grey, layout, modes_of, pictured, shown_data

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["reconstructed_data", "samples", "samples_over_training"]

_LINES, _POINTS = 24, 500
"""Samples that are drawn as lines, and as points in the plane or on the line."""


@pictured("Samples")
def samples(run: Run) -> Iterator[Figure]:
    """What the model makes by itself."""
    shape, columns = layout(run)
    classes = run.data.spec.num_classes
    columns = columns if classes is None else min(classes, columns)
    num = _few(run) if columns == 1 else 6 * columns
    draws = prior_samples(run.pair, conditions(run.data, num), num, start=run.chains)
    if shape is None:
        x = run.data.shown[0][:num]
        groups = {shown_data(run): Vectors(x, 1, 0.5), "samples": Vectors(draws.x, 0, 0.5)}
        panels = {title: [group, *modes_of(run)] for title, group in groups.items()}
        how = f"{_how(run, _story(run, 'x'))}.{_crosses(run)}"
        caption = f"{shown_data(run).capitalize()}, and as many draws of the model: {how}"
        yield drawn(draw_panels(panels), f"{len(x)} {shown_data(run)} beside {num} samples.", caption)
    else:
        labels = "" if classes is None else f" Labels 0 to {classes - 1} in turn, row by row."
        caption = f"{_how(run, _story(run, 'mean'))}.{labels}"
        yield Figure(picture(grid(draws.mean, shape, columns, grey=grey(run)), columns, f"{num} samples."), caption)


@pictured("Samples over training", applies=lambda run: run.snapshots is not None)
def samples_over_training(run: Run) -> Iterator[Figure]:
    """What the model made of the same random numbers while it was trained."""
    found, (shape, _) = run.snapshots, layout(run)
    assert found is not None
    moments = f"{', '.join(f'{step:,}' for step in found.steps[:-1])} and {found.steps[-1]:,}"
    caption = f"The same random numbers each time, after {moments} steps."
    alt = f"{found.x.shape[1]} samples after {moments} steps."
    if shape is None:
        each = zip(found.steps, found.x, strict=True)
        panels = {f"{step:,} steps": [Vectors(x, 0, 0.5), *modes_of(run)] for step, x in each}
        yield drawn(draw_panels(panels), alt, f"{caption}{_crosses(run)}")
    else:
        columns = found.x.shape[1]
        pixels = grid(found.x.flatten(0, 1), shape, columns, grey=grey(run))
        yield Figure(picture(pixels, columns, alt), f"{caption} A row is a moment.")


def _few(run: Run) -> int:
    """How many samples that are no pictures can be told apart."""
    return _POINTS if run.data.spec.num_features <= 2 else _LINES


def _story(run: Run, what: str) -> str:
    """How a normalised pair makes a sample, or the mean of one."""
    if run.pair.implicit:
        return "x = G(z), z ~ p(z)"
    return "z ~ p(z), x ~ p(x | z)" if what == "x" else "Means of p(x | z), z ~ p(z)"


def _how(run: Run, by_prior: str) -> str:
    """How samples were drawn."""
    start = "draws of its base distribution" if run.chains is None else "its persistent chains"
    return by_prior if run.pair.normalised else f"Markov chains after {SWEEPS:,} sweeps from {start}"


def _crosses(run: Run) -> str:
    return " Crosses: the known modes." if modes_of(run) else ""


@pictured("Reconstructions", applies=lambda run: not run.pair.implicit)
def reconstructed_data(run: Run) -> Iterator[Figure]:
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


def _again(run: Run) -> str:
    """How a datum was made again."""
    return "the mean of p(x | z) at one draw z of the guide" if run.pair.normalised else "a draw by one sweep from it"
