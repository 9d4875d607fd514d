"""How the variance of a gradient goes with the number of particles: a power law, and what it says of other numbers.

    log v(K) = a + b log K + error,        error ~ N(0, s_K^2),  s_K that of the measured log v

fitted by weighted least squares; a mean of independent draws has b = -1 exactly. Where K is three numbers or more and
they lie further from the line than their errors explain, chi^2 over its degrees of freedom above one, all errors grow
by the root of that ratio (Birge 1932): no law of this kind holds exactly, and the interval says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ppgen.comparison.records import ObjectiveResult
from ppgen.measuring.statistics import Interval

__all__ = ["PowerLaw", "families", "power_law"]


@dataclass(frozen=True)
class PowerLaw:
    """v(K) = exp(a) K^b, with the covariance of (a, b) and the quantile of a standard normal that intervals take.

    >>> law = power_law([1, 4], [Interval(2.0, 1.8, 2.2), Interval(0.5, 0.45, 0.55)], level=0.95)
    >>> round(law.slope.value, 6), round(law.at(16).value, 6)
    (-1.0, 0.125)
    """

    a: float
    b: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    quantile: float

    @property
    def slope(self) -> Interval:
        """b."""
        width = self.quantile * math.sqrt(self.covariance[1][1])
        return Interval(self.b, self.b - width, self.b + width)

    def at(self, num_particles: float) -> Interval:
        """v at another K."""
        x = math.log(num_particles)
        (aa, ab), (_, bb) = self.covariance
        width = self.quantile * math.sqrt(max(0.0, aa + 2 * x * ab + x * x * bb))
        middle = self.a + self.b * x
        return Interval(math.exp(middle), math.exp(middle - width), math.exp(middle + width))


def power_law(particles: Sequence[int], variances: Sequence[Interval], level: float) -> PowerLaw:
    """The law through variances with intervals of a level, at two numbers of particles or more."""
    from scipy.special import ndtri

    quantile = float(ndtri((1 + level) / 2))
    x, y = np.log(particles), np.log([v.value for v in variances])
    errors = np.array([max((v.high - v.low) / (2 * quantile * v.value), 1e-12) for v in variances])
    (b, a), covariance = np.polyfit(x, y, 1, w=1 / errors, cov="unscaled")
    spare = len(x) - 2
    if spare > 0:
        covariance = covariance * max(1.0, float((((y - a - b * x) / errors) ** 2).sum() / spare))
    (bb, ab), (_, aa) = covariance.tolist()
    return PowerLaw(float(a), float(b), ((aa, ab), (ab, bb)), quantile)


def families(objectives: Iterable[ObjectiveResult]) -> dict[str, list[ObjectiveResult]]:
    """Objectives that differ in their number of particles alone, by the name without it, in rising order of K.

    Those that stand alone, and those without variance, are left out.
    """
    found: dict[str, list[ObjectiveResult]] = {}
    noisy = (one for one in objectives if one.whole.variance.value > 0)
    for one in sorted(noisy, key=lambda one: one.num_particles or 0):
        name = re.sub(r"(, )?num_particles=\d+", "", one.label).replace("(, ", "(").replace("()", "")
        found.setdefault(name, []).append(one)
    return {name: members for name, members in found.items() if len({one.num_particles for one in members}) > 1}
