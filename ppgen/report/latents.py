"""Sections of the report on latents: what single ones do, and what lies between two draws of their prior."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ppgen.draws.codes import code_traversal, has_codes
from ppgen.draws.manifold import has_manifold, latent_manifold
from ppgen.draws.paths import has_paths, interpolation, latent_traversal
from ppgen.draws.samples import conditions, has_walk
from ppgen.pages.elements import Figure
from ppgen.pages.look import Pictures, look_of
from ppgen.pages.numbers import counted, number
from ppgen.pairs.rows import take_rows
from ppgen.report.parts import pictured, shown_data

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["code_traversals", "interpolations", "manifold", "traversals"]

_PATHS, _POINTS = 6, 9
"""Paths from one draw to another, and points of each."""


@pictured("Latent traversal", applies=lambda run: run.pair.has_density and _has_walk(run))
def traversals(run: Run) -> Iterator[Figure]:
    """What single latents do."""
    walk = latent_traversal(run.pair, take_rows(run.data.shown, slice(64)))
    first, last = (f"{float(q):g}" for q in walk.quantiles[[0, -1]])
    names = (f"{label}, {number(float(kl))} nats" for label, kl in zip(walk.labels, walk.kl, strict=True))
    yield look_of(run.data).paths(
        dict(zip(names, walk.means, strict=True)),
        f"{counted(len(walk.labels), 'latent')} moved along the prior: {', '.join(walk.labels)}.",
        f"Datum 0 of the {shown_data(run)}, made again with one latent moved from the {first} to the {last} quantile "
        "of its prior, all else held. The latents of most use come first: those of largest KL(q(z | x) || p(z)), a "
        "mean over them.",
    )


@pictured("Latent manifold", applies=lambda run: _in_plane(run))
def manifold(run: Run) -> Iterator[Figure]:
    """What the model makes all over the plane of its latent."""
    plane, look = latent_manifold(run.pair, conditions(run.data, 1)), look_of(run.data)
    assert isinstance(look, Pictures)  # that it is was asked
    (across, up), side = plane.labels, len(plane.means)
    yield look.plane(
        plane.means.flip(0),
        f"{side} by {side} values of the latent, {across} rising to the right and {up} upwards.",
        f"Means of p(x | z) at the {0.5 / side:.3f} to {1 - 0.5 / side:.3f} quantiles of the prior, {across} to the "
        f"right and {up} upwards, evenly in probability.",
    )


@pictured("Traversal of codes", applies=lambda run: run.pair.implicit and has_codes(run.pair, conditions(run.data, 1)))
def code_traversals(run: Run) -> Iterator[Figure]:
    """What single latents do to a draw of a pair without a density."""
    walk = code_traversal(run.pair, conditions(run.data, 1), columns=_POINTS)
    yield look_of(run.data).paths(
        dict(zip(walk.labels, walk.means, strict=True)),
        f"{counted(len(walk.labels), 'latent')} of one draw moved along the prior: {', '.join(walk.labels)}.",
        "One draw, made again with one latent changed, all else held: a category through its values, a number from the "
        "0.02 to the 0.98 quantile of its prior. Categories come first, then the numbers that move the draw furthest.",
    )


def _in_plane(run: Run) -> bool:
    pictures = run.data.spec.image_shape is not None and isinstance(look_of(run.data), Pictures)
    return pictures and has_manifold(run.pair, conditions(run.data, 1))


def _has_walk(run: Run) -> bool:
    return has_walk(run.pair, take_rows(run.data.shown, slice(64)))


@pictured("Interpolation", applies=lambda run: has_paths(run.pair, conditions(run.data, 1)))
def interpolations(run: Run) -> Iterator[Figure]:
    """What the model makes on the way from one draw of the prior to another."""
    path = interpolation(run.pair, conditions(run.data, _PATHS), rows=_PATHS, columns=_POINTS)
    way = (
        "turned about the mean, so that every point is as the prior draws it" if path.rotated else "on a straight line"
    )
    yield look_of(run.data).paths(
        {f"path {i}": x for i, x in enumerate(path.means, 1)},
        f"{_PATHS} paths between two draws of the prior.",
        f"From one draw of {path.label} to another, {way}.",
    )
