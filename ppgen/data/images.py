"""Pictures of one's own, in a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppgen.arguments import Count, Seed, Share, Sizes, one_of
from ppgen.data.assemble import BINARIZE, dequantise_once
from ppgen.data.dataset import SPLITS, Dataset
from ppgen.data.folders import Entries, FileKind
from ppgen.data.reading import reading
from ppgen.data.user import dataset_from
from ppgen.errors import UsageError, setting, shown
from ppgen.registry import register_data

__all__ = ["PICTURES", "images"]

LEVELS = 256
PICTURES = FileKind("pictures", (".png", ".jpg", ".jpeg"))

_GREY = ("1", "L", "LA", "I", "I;16")
"""Pillow's modes of pictures without colour."""


@register_data(
    "images",
    summary="pictures of one's own, .png or .jpg, in a folder for each class below the folder that file= names",
    reference="Clark and contributors, Pillow",
    year=2010,
    link="https://python-pillow.github.io",
    tags=("files", "images", "labels"),
)
def images(
    *,
    file: str = "",
    labels: bool = False,
    size: Count | Sizes | None = None,
    grey: bool = False,
    binarize: str = "none",
    valid: Share = 0.1,
    test: Share = 0.1,
    seed: Seed = 0,
) -> Dataset:
    """``folder/CLASS/*.png``, or ``folder/train/CLASS/*.png`` beside ``test`` and ``valid``; pictures of one size.

    Args:
        file: the folder. Classes are numbered in the order of their names; without them pictures lie in it.
        labels: batches are (x, y), y the class.
        size: height and width, or one number for both, that all pictures are scaled to.
        grey: whether colours are turned into greys.
        binarize: ``"none"``: 256 levels, or black and white where there is nothing between; ``"threshold"`` (above
            1/2); ``"dynamic"`` (probability = level / 255); ``"dequantise"`` (real: (level + u) / 256, u ~ U[0, 1) anew
            each time).
        valid: the share of the training pictures to validate on, 0 for none, where there is no folder ``valid``.
        test: the same, to test.
        seed: seeds the permutation that holds out.

    Raises:
        UsageError: no folder is named, it holds no pictures, a picture cannot be read, they have several sizes, labels
            were asked for and there are no classes, a class is missing in training.
    """
    one_of("unknown binarize", binarize, BINARIZE)
    folder = Path(os.path.expanduser(file))
    if not file or not folder.is_dir():
        example = setting("D", "file", "folder")
        raise UsageError(f"data set 'images' needs a folder of pictures, got {shown(file)}: {example}.")
    found = PICTURES.splits(folder)
    names = PICTURES.classes(found) if labels else ()
    height, width = _size(found, size)
    colour = not grey and any(mode not in _GREY for split in found.values() for mode, _ in map(_header, _files(split)))
    parts: dict[str, Any] = {"valid": valid, "test": test}
    for split, pictures in found.items():
        pixels = np.stack([_pixels(path, (width, height), colour) for path in _files(pictures)])
        x = _as_data(pixels, binarize, SPLITS.index(split))
        y = np.array([names.index(name) for name, _ in pictures]) if labels else None
        parts[split] = (x,) if y is None else (x, y)
    train = parts["train"][0]
    dequantised = binarize == "dequantise"
    between = binarize == "none" and bool(((train > 0) & (train < 1)).any())
    made = dataset_from(
        parts,
        name=folder.resolve().name,
        observation="real" if dequantised else None,
        levels=LEVELS if between or dequantised else None,
        num_classes=len(names) or None,
        dynamic=dequantised or binarize == "dynamic",
        seed=seed,
    )
    what = f"{width} x {height} pixels, {'in colour' if colour else 'grey'}, {made.spec.observation}"
    return replace(made, kinds={"pictures": what, **({"class": f"categorical ({', '.join(names)})"} if names else {})})


def _as_data(pixels: NDArray[np.uint8], binarize: str, seed: int) -> NDArray[Any]:
    if binarize == "threshold":
        return pixels > LEVELS // 2 - 1
    grey = pixels.astype(np.float32) / (LEVELS - 1)
    return dequantise_once(grey, LEVELS, seed) if binarize == "dequantise" else grey


def _files(pictures: Entries) -> list[Path]:
    return [path for _, path in pictures]


def _size(found: Mapping[str, Entries], asked: int | Sequence[int] | None) -> tuple[int, int]:
    """Height and width of all pictures."""
    if asked is not None:
        sizes = (asked, asked) if isinstance(asked, int) else tuple(asked)
        if len(sizes) != 2:
            raise UsageError(f"size must be a number of pixels, or height and width, got {shown(asked)}.")
        return sizes
    first, *others = (path for pictures in found.values() for path in _files(pictures))
    _, (width, height) = _header(first)
    for path in others:
        if (other := _header(path)[1]) != (width, height):
            raise UsageError(
                f"pictures must have one size, and {first} is {width} x {height} pixels where {path} is {other[0]} x "
                f"{other[1]}: scale them all, {setting('D', 'size', height)}, or take the others away."
            )
    return height, width


def _header(path: Path) -> tuple[str, tuple[int, int]]:
    """Pillow's mode of a picture, and its width and height."""
    from PIL import Image

    with reading(path, "a picture"), Image.open(path) as image:
        return image.mode, image.size


def _pixels(path: Path, size: tuple[int, int], colour: bool) -> NDArray[np.uint8]:
    """(H, W), or in colour (3, H, W), from 0 to 255; ``size`` is width and height."""
    from PIL import Image

    with reading(path, "a picture"), Image.open(path) as file:
        deep = file.mode in ("I", "I;16")  # 16 bits
        image = Image.fromarray((np.asarray(file) // 257).astype(np.uint8)) if deep else file
        pixels = np.asarray(image.convert("RGB" if colour else "L").resize(size))  # of this size, it is a copy
        return pixels.transpose(2, 0, 1) if colour else pixels
