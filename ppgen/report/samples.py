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

from ppgen.draws.samples import conditions, prior_samples
from ppgen.pages.elements import COLUMNS, Figure, drawn, picture
from ppgen.report.parts import grey, layout, modes_of, pictured, shown_data

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["over_training", "reconstruction", "samples"]

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
        how = f"{draws.of_x}.{_crosses(run)}"
        caption = f"{shown_data(run).capitalize()}, and as many draws of the model: {how}"
        yield drawn(draw_panels(panels), f"{len(x)} {shown_data(run)} beside {num} samples.", caption)
    else:
        labels = "" if classes is None else f" Labels 0 to {classes - 1} in turn, row by row."
        caption = f"{draws.of_mean}.{labels}"
        yield Figure(picture(grid(draws.mean, shape, columns, grey=grey(run)), columns, f"{num} samples."), caption)


@pictured("Samples over training", applies=lambda run: run.snapshots is not None)
def over_training(run: Run) -> Iterator[Figure]:
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


def _crosses(run: Run) -> str:
    return " Crosses: the known modes." if modes_of(run) else ""


@pictured("Reconstructions", applies=lambda run: run.pair.has_weights)
def reconstruction(run: Run) -> Iterator[Figure]:
    """Data that were held out, or what there is, and what the pair makes of them."""
    shape, columns = layout(run)
    num = min(2 * COLUMNS, len(run.data.shown[0])) // columns * columns
    batch = take_rows(run.data.shown, slice(num))
    again = reconstructions(run.pair, batch)
    x, mean = batch[0], again.mean
    if shape is None:
        panels = {f"datum {i}": [Vectors(x[[i]], 1, marker="o"), Vectors(mean[[i]])] for i in range(min(6, num))}
        caption = f"{shown_data(run).capitalize()} (with points), and {again.of_mean} for each."
        yield drawn(draw_panels(panels), f"{len(panels)} {shown_data(run)} and their reconstructions.", caption)
    else:
        both = zip(x.split(columns), mean.split(columns), strict=True)
        pixels = grid(torch.cat([row for rows in both for row in rows]), shape, columns, grey=grey(run), band=2)
        caption = f"{shown_data(run).capitalize()}; below each, {again.of_mean}."
        yield Figure(picture(pixels, columns, f"{num} {shown_data(run)}, each above its reconstruction."), caption)
