"""Two unpaired sets in the plane between which the map is known: moons of unequal share, and their affine image.

    s ~ moons, a share of them on the first        (scikit-learn's, :mod:`ppgen.data.moons`)
    x = A s' + b,  s' ~ the same moons             A = rotation(angle) diag(scales)

Two distributions fix a map between them up to what leaves one of them as it is. Moons of equal share are carried into
themselves by a half turn, so that a map that exchanges them would do as well; moons of which one has twice the mass of
the other are left alone by no affine map but the identity. Train holds other moons on either side, in no order; valid
and test hold pairs, x = A s + b.

Affine maps as what is identifiable: Hyvarinen and Pajunen, Nonlinear independent component analysis: existence and
uniqueness results, 1999, who show what a smooth map without restriction is not.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ppgen.arguments import Count, NonNegative, Seed
from ppgen.data.assemble import Part, assemble
from ppgen.data.dataset import Dataset
from ppgen.data.two_sets import translation_data
from ppgen.registry import register_data

__all__ = ["AffineMap", "affine_moons"]

_FIRST = 2 / 3
"""The share of the first moon."""

_ANGLE, _SCALES, _SHIFT = math.pi / 6, (1.5, 0.8), (1.0, -0.5)


class AffineMap:
    """T(s) = A s + b in the plane, (N, 2) to (N, 2), and its inverse.

    >>> import numpy as np
    >>> there = AffineMap()
    >>> bool(np.allclose(there.inverse(there(np.eye(2))), np.eye(2)))
    True
    """

    def __init__(self) -> None:
        c, s = math.cos(_ANGLE), math.sin(_ANGLE)
        self.weight = np.array([[c, -s], [s, c]]) * np.array(_SCALES)
        self.shift = np.array(_SHIFT)

    def __call__(self, s: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = s @ self.weight.T + self.shift
        return found

    def inverse(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """T^-1(x)."""
        found: NDArray[np.float64] = np.linalg.solve(self.weight, (x - self.shift).T).T
        return found


@register_data(
    "affine_moons",
    summary="synthetic: moons of unequal share and their affine image, two unpaired sets with a known map",
    reference="Pedregosa et al., Scikit-learn: machine learning in Python",
    year=2011,
    link="https://jmlr.org/papers/v12/pedregosa11a.html",
    tags=("synthetic", "real", "embedded", "translation"),
)
def affine_moons(
    *,
    paired: Literal["all", "held_out"] = "held_out",
    noise: NonNegative = 0.05,
    num_data: Count = 10_000,
    seed: Seed = 0,
) -> Dataset:
    """``num_data`` rows to train, a tenth as many to validate and test; batches are (x, s).

    Args:
        paired: ``"held_out"``: x and s of a training row are moons of their own; ``"all"``: x = A s + b there too.
        noise: the standard deviation about the half circles, of radius one.
        num_data: the number of training rows.
        seed: seeds the rows.
    """
    held_out, there = max(1, num_data // 10), AffineMap()
    s = _moons(num_data + 2 * held_out, noise, seed)
    x = there(s if paired == "all" else np.concatenate([_moons(num_data, noise, seed + 1), s[num_data:]]))
    sets = (_set("moons", s, num_data, held_out), _set("affine_moons", x, num_data, held_out))
    return translation_data(*sets, paired=paired, name="affine_moons", seed=seed)


def _moons(num: int, noise: float, seed: int) -> NDArray[np.float64]:
    from sklearn.datasets import make_moons

    first = round(_FIRST * num)
    rows: NDArray[np.float64] = make_moons((first, num - first), noise=noise, random_state=seed)[0]  # shuffled
    return rows


def _set(name: str, rows: NDArray[np.float64], num_data: int, held_out: int) -> Dataset:
    part, last = Part(rows), num_data + held_out
    return assemble(name, part[:num_data], part[num_data:last], part[last:], observation="real")
