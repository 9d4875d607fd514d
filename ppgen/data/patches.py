"""Patches of natural pictures, whitened: squares cut out of scikit-learn's two photographs, or of one's own.

    R(f) = f exp(-(f / f0)^4),      f0 = 0.4 cycles a pixel

Natural pictures have amplitudes that fall as 1 / f. The filter R makes them even up to f0, and takes off what is above
it, where a square grid of pixels tells little (Olshausen and Field 1996: 200 cycles in a picture of 512). It is applied
to the cosine transform of a region, that is, to the region mirrored at its edges, so that nothing wraps around.

Emergence of Simple-Cell Receptive Field Properties by Learning a Sparse Code for Natural Images, Olshausen and Field,
Nature 1996.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from ppgen.arguments import Count, Seed
from ppgen.data.assemble import Part, assemble
from ppgen.data.dataset import Dataset
from ppgen.data.images import PICTURES
from ppgen.data.reading import reading
from ppgen.errors import UsageError, setting, shown
from ppgen.registry import register_data

__all__ = ["patches", "whitened"]

Pixels = NDArray[np.float64]
Side = Annotated[int, Ge(2)]

_CUTOFF = 0.4
_REGIONS = (0.7, 0.85)
"""Where a photograph is cut, as shares of its width."""
_BLANK = 1e-6
"""A standard deviation that is rounding, of greys in [0, 1]."""


@register_data(
    "patches",
    summary="patches of scikit-learn's two photographs, or of one's own, whitened: no download",
    reference="Olshausen and Field, Emergence of simple-cell receptive field properties by learning a sparse code",
    year=1996,
    link="https://doi.org/10.1038/381607a0",
    tags=("images", "real", "embedded"),
)
def patches(
    *,
    size: Side = 12,
    num_data: Count = 10_000,
    normalise: Literal["all", "each"] = "each",
    whiten: bool = True,
    file: str = "",
    seed: Seed = 0,
) -> Dataset:
    """``num_data`` patches to train, a fifth as many to validate and test, size x size, real.

    Every photograph is cut from left to right into three regions, 70, 15 and 15 percent of its width, of which train,
    valid and test have their patches: no two splits share a pixel. Each region is turned to grey and whitened by
    itself. Photographs are drawn evenly, and places in a region.

    Args:
        size: height and width of a patch.
        num_data: the number of training patches.
        normalise: ``"each"``: of every patch its own mean is taken off and its own variance is one; ``"all"``:
            everything is divided by one number, by which the training patches' numbers have a variance of one, and
            patches of little contrast stay small.
        whiten: False: the greys, in [0, 1], less the mean of their region, are left as they are.
        file: a folder of photographs of one's own, .png or .jpg; empty: scikit-learn's.
        seed: seeds the places.

    Raises:
        UsageError: the folder holds no pictures, one cannot be read or is too small for the patches, or patches are
            without contrast.
    """
    photographs = _photographs(file)
    random, held_out = np.random.RandomState(seed), max(1, num_data // 5)
    parts = []
    for number, count in enumerate((num_data, held_out, held_out)):
        regions = {name: _region(name, picture, number, size) for name, picture in photographs.items()}
        filtered = [whitened(pixels) if whiten else pixels - pixels.mean() for pixels in regions.values()]
        parts.append(_drawn(filtered, size, count, random))
    scale = parts[0].std()
    if scale <= _BLANK:
        raise UsageError(
            f"all {num_data} patches of {_named(file)} are zero, their photographs are blank: give others."
        )
    normal = [part / scale if normalise == "all" else _each_normal(part, file) for part in parts]
    return assemble("patches", *map(Part, normal), observation="real", image_shape=(size, size))


def whitened(pixels: Pixels) -> Pixels:
    """(H, W) filtered by R.

    >>> down = np.arange(64)
    >>> wave = np.cos(np.pi * 16 * (down[:, None] + 0.5) / 64) * np.ones(64)  # of 16 / (2 * 64) cycles a pixel
    >>> bool(np.allclose(whitened(wave), 0.125 * np.exp(-((0.125 / 0.4) ** 4)) * wave))
    True
    """
    from scipy.fft import dctn, idctn

    down, across = (np.arange(extent) / (2 * extent) for extent in pixels.shape)  # cycles a pixel
    frequency = np.hypot(down[:, None], across)
    filtered: Pixels = idctn(dctn(pixels) * frequency * np.exp(-((frequency / _CUTOFF) ** 4)))
    return filtered


def _drawn(regions: Sequence[Pixels], size: int, count: int, random: np.random.RandomState) -> Pixels:
    """(count, size^2) of patches at random places."""
    windows = [np.lib.stride_tricks.sliding_window_view(pixels, (size, size)) for pixels in regions]
    which, places = random.randint(len(regions), size=count), random.random_sample((count, 2))
    drawn = np.empty((count, size * size))
    for number, places_of in enumerate(windows):
        here = which == number
        down, across = (places[here] * places_of.shape[:2]).astype(int).T
        drawn[here] = places_of[down, across].reshape(-1, size * size)
    return drawn


def _each_normal(part: Pixels, file: str) -> Pixels:
    """Every patch with a mean of zero and a variance of one."""
    centred = part - part.mean(1, keepdims=True)
    scale = centred.std(1, keepdims=True)
    if blank := int((scale <= _BLANK).sum()):
        raise UsageError(
            f"{blank} of {len(part)} patches of {_named(file)} are constant, and have no variance to be made one: take "
            f"larger patches ({setting('D', 'size', 16)}), or one scale for all ({setting('D', 'normalise', 'all')})."
        )
    normal: Pixels = centred / scale
    return normal


def _region(name: str, picture: Pixels, number: int, size: int) -> Pixels:
    """The part of a photograph, (H, W), that split ``number`` has its patches of."""
    height, width = picture.shape
    ends = [0, *(int(share * width) for share in _REGIONS), width]
    region = picture[:, ends[number] : ends[number + 1]]
    if min(region.shape) < size:
        raise UsageError(
            f"patches of {size} x {size} pixels are cut of regions of 70, 15 and 15 percent of a photograph's width, "
            f"and {name} is {width} x {height}: lower size, or take it away."
        )
    return region


def _photographs(file: str) -> dict[str, Pixels]:
    """Greys in [0, 1], (H, W), by name."""
    from sklearn.datasets import load_sample_images

    if not file:
        found = load_sample_images()
        return {Path(name).name: _grey(image) for name, image in zip(found.filenames, found.images, strict=True)}
    folder = Path(os.path.expanduser(file))
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES.suffixes and path.is_file())
    if not paths:
        raise UsageError(
            f"patches are cut of a folder of photographs ({', '.join(PICTURES.suffixes)}), got {shown(file)}."
        )
    return {str(path): _read(path) for path in paths}


def _read(path: Path) -> Pixels:
    from PIL import Image

    with reading(path, "a picture"), Image.open(path) as image:
        return _grey(np.asarray(image.convert("RGB")))


def _grey(image: NDArray[Any]) -> Pixels:
    """Luma of (H, W, 3) bytes, in [0, 1] (ITU-R BT.601)."""
    grey: Pixels = image @ np.array([0.299, 0.587, 0.114]) / 255
    return grey


def _named(file: str) -> str:
    return shown(file) if file else "scikit-learn's photographs"
