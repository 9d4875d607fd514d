"""What a pair's units or columns weigh each pixel with, as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from ppgen.pages.elements import COLUMNS, Figure, picture
from ppgen.pages.numbers import counted, number
from ppgen.pages.pictures import grid
from ppgen.pairs.energy import EnergyPair
from ppgen.report.parts import pictured

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["filters"]

_FILTERS = 100


@pictured("Filters", applies=lambda run: run.data.spec.image_shape is not None and run.pair.filters() is not None)
def filters(run: Run) -> Iterator[Figure]:
    """Single units' weights, or latents' columns, as pictures, and what upper layers' units come to at the data."""
    weight = run.pair.filters()
    assert weight is not None
    yield _of_units(run, weight, "filter", "The {} of {} filters whose weights are largest")
    upper = run.pair.upper_filters() if isinstance(run.pair, EnergyPair) else ()
    for layer, product in enumerate(upper, start=2):
        said = f"What the {{}} of {{}} units of hidden layer {layer} with the largest effect weigh each pixel with"
        yield _of_units(run, product, "receptive field", f"{said}, through the layers between")


def _of_units(run: Run, weight: Tensor, what: str, said: str) -> Figure:
    """The units of ``weight``, (D, H) or small pictures (C, k, k, H), with the largest norm."""
    shape = weight.shape[:-1] if weight.dim() > 2 else run.data.spec.image_shape
    assert shape is not None
    weight = weight.detach().flatten(0, -2)  # (D, H)
    norm, units = weight.norm(dim=0).sort(descending=True)
    shown = weight[:, units[:_FILTERS]].T  # (num, D)
    bounds = shown.abs().amax(1, keepdim=True)  # (num, 1)
    columns = min(COLUMNS, len(shown))
    least, most = (number(float(bound), 1) for bound in bounds.aminmax())
    grey = f"each from minus its largest, black, to plus its largest, white, which are {least} to {most}"
    caption = f"{said.format(len(shown), len(norm))}, the largest first; {grey}."
    pixels = grid(shown / bounds.clamp_min(1e-30), shape, columns, grey=(-1, 1))
    return Figure(picture(pixels, columns, f"{counted(len(shown), what)}."), caption)
