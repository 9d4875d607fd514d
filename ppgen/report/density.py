"""The section of the report on a density of data in the plane, as a picture beside samples and data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppgen.evaluation.bounds import bounds, evidence_of
from ppgen.pages.elements import COLUMNS, Figure, picture
from ppgen.pages.numbers import number
from ppgen.pages.pictures import grid
from ppgen.pairs.energy import energy_pair
from ppgen.pairs.looking import looking
from ppgen.report.parts import pictured

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["density_in_the_plane"]

_SIDE = 120
"""Points of the picture, across and down."""
_NATS = 10.0
_PARTICLES = 50
"""Of a bound on the density, where it is not known exactly."""


def _has_picture(run: Run) -> bool:
    spec, states_one = run.data.spec, run.pair.has_chains or run.pair.has_density
    numbers = states_one and spec.num_features == 2 and spec.observation in ("real", "any")
    return numbers and len(run.data.shown) == 1 and _is_real(run.data.shown[0])


def _is_real(x: Tensor) -> bool:
    """Whether data whose owner did not say so are no whole numbers."""
    return x.is_floating_point() and bool((x != x.round()).any())


@pictured("Density", applies=_has_picture)
def density_in_the_plane(run: Run) -> Iterator[Figure]:
    """The density and its logarithm, up to a constant, where data in the plane lie."""
    shown = run.data.shown[0]
    centre, half = (shown.amax(0) + shown.amin(0)) / 2, 0.65 * (shown.amax(0) - shown.amin(0)).max()
    axis = torch.linspace(-1, 1, _SIDE, device=shown.device) * half
    down, across = torch.meshgrid(-axis, axis, indexing="ij")  # upward on the page is upward in the plane
    with looking(run.pair, seed=0):
        log_p, what = _log_density(run, torch.stack([across, down], -1).reshape(-1, 2) + centre)  # (points,)
    below = (log_p - log_p.max()).clamp_min(-_NATS)
    low, high = (run.data.in_units(centre + side * half) for side in (-1, 1))
    extent = " and ".join(f"{number(float(a))} to {number(float(b))}" for a, b in zip(low, high, strict=True))
    caption = (
        f"{what} (left), and its logarithm down to {number(_NATS)} nats below the maximum (right); white is the "
        f"most. Across and upwards: {extent}."
    )
    pixels = grid(torch.stack([below.exp(), 1 + below / _NATS]), (_SIDE, _SIDE), 2)
    yield Figure(picture(pixels, COLUMNS, "The density in the plane, and its logarithm."), caption)


def _log_density(run: Run, x: Tensor) -> tuple[Tensor, str]:
    """log p(x) of points, (N, 2) to (N,), up to a constant, and what it is of."""
    if run.pair.has_chains:
        return -energy_pair(run.pair, "a picture of the density").free_energy(x), "The density"
    exact = evidence_of(run.pair, (x[:2],)) == "exact"
    values = bounds(run.pair, (x,), 1 if exact else _PARTICLES)
    what = "The density" if exact else f"What {_PARTICLES} particles make of the density"
    return list(values.values())[-1].to(x.dtype), what
