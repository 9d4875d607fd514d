"""Sections of the report on latents: what single ones do, and what lies between two draws of their prior."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from markupsafe import Markup

from ppgen.draws.paths import Traversal, has_paths, interpolation, latent_traversal
from ppgen.draws.samples import conditions, has_walk
from ppgen.pages.charts import Vectors, draw_panels
from ppgen.pages.elements import Figure, drawn, picture
from ppgen.pages.numbers import number
from ppgen.pages.pictures import grid
from ppgen.pairs.rows import take_rows
from ppgen.report.parts import grey, layout, modes_of, pictured, shown_data

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["interpolations", "traversals"]

_PATHS, _POINTS = 6, 9
"""Paths from one draw to another, and points of each; in the plane, where points are small, more."""

_PATHS_IN_PLANE, _POINTS_IN_PLANE = 3, 60


@pictured("Latent traversal", applies=lambda run: run.pair.normalised and not run.pair.implicit and _walks(run))
def traversals(run: Run) -> Iterator[Figure]:
    """What single latents do."""
    shape, _ = layout(run)
    walk = latent_traversal(run.pair, take_rows(run.data.shown, slice(64)))
    use = [f"{number(float(kl))} nats" for kl in walk.kl]
    first, last = (f"{float(q):g}" for q in walk.quantiles[[0, -1]])
    caption = (
        f"Datum 0 of the {shown_data(run)}, made again with one latent moved from the {first} to the {last} quantile "
        "of its prior, all else held. The latents of most use come first: those of largest KL(q(z | x) || p(z)), a "
        "mean over them."
    )
    alt = f"{len(use)} latents moved along their priors: {', '.join(walk.labels)}."
    if shape is None:
        steps = torch.linspace(0.2, 1, len(walk.quantiles)).tolist()
        panels = {
            f"{label}, {kl}": [Vectors(mean[None], 0, step) for mean, step in zip(row, steps, strict=True)]
            for label, kl, row in zip(walk.labels, use, walk.means, strict=True)
        }
        yield drawn(draw_panels(panels), alt, f"{caption} The stronger the line, the higher the quantile.")
    else:
        yield Figure(_strips(run, shape, walk, use), caption)


def _walks(run: Run) -> bool:
    return has_walk(run.pair, take_rows(run.data.shown, slice(64)))


@pictured("Interpolation", applies=lambda run: has_paths(run.pair, conditions(run.data, 1)))
def interpolations(run: Run) -> Iterator[Figure]:
    """What the model makes on the way from one draw of the prior to another."""
    shape, _ = layout(run)
    plane = run.data.spec.num_features == 2
    rows, columns = (_PATHS_IN_PLANE, _POINTS_IN_PLANE) if plane else (_PATHS, _POINTS)
    path = interpolation(run.pair, conditions(run.data, rows), rows=rows, columns=columns)
    way = (
        "turned about the mean, so that every point is as the prior draws it" if path.rotated else "on a straight line"
    )
    caption = f"From one draw of {path.label} to another, {way}."
    alt = f"{rows} paths between two draws of the prior."
    if shape is not None:
        pixels = grid(path.means.flatten(0, 1), shape, columns, grey=grey(run))
        yield Figure(picture(pixels, columns, alt), f"{caption} Each row is a path.")
    elif plane:
        panels = {f"path {i}": [*modes_of(run), Vectors(row)] for i, row in enumerate(path.means, 1)}
        yield drawn(draw_panels(panels), alt, caption)
    else:
        steps = torch.linspace(0.2, 1, columns).tolist()
        panels = {
            f"path {i}": [Vectors(mean[None], 0, step) for mean, step in zip(row, steps, strict=True)]
            for i, row in enumerate(path.means, 1)
        }
        yield drawn(draw_panels(panels), alt, f"{caption} The stronger the line, the further along.")


def _strips(run: Run, shape: tuple[int, ...], walk: Traversal, use: list[str]) -> Markup:
    """A row for each latent: its name and use, and the pictures along it."""
    strip = Markup('<div class="strip"><p>{} <small>{}</small></p>{}</div>')
    rows = [grid(row, shape, len(row), grey=grey(run)) for row in walk.means]
    images = [
        picture(row, len(walk.quantiles), f"{label}, low to high") for row, label in zip(rows, walk.labels, strict=True)
    ]
    return Markup("").join(map(strip.format, walk.labels, use, images))
