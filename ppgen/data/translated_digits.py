"""Digits and what is made of them, to translate between: turned and inverted digits, and edges.

    turned_digits    s a digit,            x = 1 - (s turned by a quarter, against the clock)
    edges            x a digit,            s = 1 where the digit's grey levels rise or fall steeply

Turned digits are unpaired: the first half of the training digits are sources, the others are turned. Edges are pairs,
as the training data of "pix2pix" are; both hold pairs in valid and test, where a translation is held against the truth.

    steep    |grad| > 1/4,    grad = (sobel across, sobel down) / 8      (grey levels a pixel; outside is as the rim)

Zhu, Park, Isola and Efros, Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, 2017;
Isola, Zhu, Zhou and Efros, Image-to-Image Translation with Conditional Adversarial Networks, 2017, whose edges are
those of a trained detector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ppgen.data.assemble import Part, assemble
from ppgen.data.dataset import SPLITS, Dataset
from ppgen.data.digits import digits
from ppgen.data.mnist import mnist
from ppgen.data.two_sets import translation_data
from ppgen.registry import register_data

__all__ = ["edges", "edges_of", "turned", "turned_digits"]

Of = Literal["mnist", "digits"]
Trained = Literal["all", "held_out"]
Pictures = NDArray[Any]

_LOADERS: Mapping[str, Callable[..., Dataset]] = {"mnist": mnist, "digits": digits}
_STEEP = 0.25


@register_data(
    "turned_digits",
    summary="handwritten digits against other digits, turned by a quarter and inverted: two unpaired sets, map known",
    reference="Zhu, Park, Isola and Efros, Unpaired image-to-image translation",
    year=2017,
    link="https://arxiv.org/abs/1703.10593",
    tags=("images", "quantised", "translation"),
)
def turned_digits(*, of: Of = "mnist", paired: Trained = "held_out") -> Dataset:
    """Grey levels; batches are (x, s), x the turned and inverted picture.

    Args:
        of: ``"mnist"``, 28 x 28, or ``"digits"``, 8 x 8, which needs no download.
        paired: ``"held_out"``: no training digit is both source and target; ``"all"``: all are, in the same row.
    """
    return _translation("turned_digits", of, paired, source=lambda x: x, target=turned)


@register_data(
    "edges",
    summary="edges of handwritten digits, by a plain filter, to the digits: pairs",
    reference="Isola, Zhu, Zhou and Efros, Image-to-image translation with conditional adversarial networks",
    year=2017,
    link="https://arxiv.org/abs/1611.07004",
    tags=("images", "quantised", "translation"),
)
def edges(*, of: Of = "mnist", paired: Trained = "all") -> Dataset:
    """Batches are (x, s), x a digit in grey levels, s its edges, the darkest and the brightest of these levels.

    Args:
        of: ``"mnist"``, 28 x 28, or ``"digits"``, 8 x 8, which needs no download.
        paired: ``"all"``: rows are pairs; ``"held_out"``: edges of a training row are another digit's.
    """
    return _translation("edges", of, paired, source=edges_of, target=lambda x: x)


def turned(pictures: Pictures) -> Pictures:
    """(N, H, W) turned by a quarter against the clock and inverted: 1 less the grey levels."""
    return 1 - np.rot90(pictures, axes=(1, 2))


def edges_of(pictures: Pictures) -> NDArray[np.bool_]:
    """Where (N, H, W) grey levels are steep; see the module."""
    across, down = (_derivative(pictures, along, other) for along, other in ((2, 1), (1, 2)))
    return np.hypot(across, down) > _STEEP


def _derivative(pictures: Pictures, along: int, other: int) -> Pictures:
    """Sobel's, over 8, of each picture by itself: scipy's own ``sobel`` smooths over all axes, that of data too."""
    from scipy.ndimage import correlate1d

    difference = correlate1d(pictures, [-1.0, 0.0, 1.0], along, mode="nearest")
    smooth: Pictures = correlate1d(difference, [1.0, 2.0, 1.0], other, mode="nearest") / 8
    return smooth


def _translation(
    name: str, of: Of, paired: Trained, *, source: Callable[[Pictures], Any], target: Callable[[Pictures], Any]
) -> Dataset:
    data = _LOADERS[of](binarize="none")
    half = len(data.train[0]) // 2
    rows = (slice(None), slice(None)) if paired == "all" else (slice(half), slice(half, None))
    sets = (
        _made(f"{of}, {which}", data, make, of_train)
        for which, make, of_train in zip(("source", "target"), (source, target), rows, strict=True)
    )
    return translation_data(*sets, paired=paired, name=name)


def _made(name: str, data: Dataset, make: Callable[[Pictures], Any], train: slice) -> Dataset:
    """The data set of what is made of each picture, of these rows of train."""
    shape, parts = data.spec.image_shape or (), []
    for split in SPLITS:
        x = data.rows(split, train if split == "train" else slice(None))[0]
        made = np.asarray(make(x.reshape(-1, *shape).numpy()))
        parts.append(Part(made.reshape(len(made), -1)))
    return assemble(name, *parts, observation="quantised", image_shape=shape, levels=data.spec.levels)
