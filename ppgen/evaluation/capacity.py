"""How many patterns does an associative memory hold? Errors of recall against the number of stored patterns.

Random patterns, each bit fair, are stored by a rule, and recalled from themselves or from corrupted copies, one unit
after another. Of D units and P patterns, by the load P / D, errors of Hebb's rule jump near 0.138 in the limit of large
D, 0.016 of the bits being wrong just below; at finite D the break is rounded, and a little later.

Amit, Gutfreund, Sompolinsky: Storing infinite numbers of patterns in a spin-glass model of neural networks, Physical
Review Letters 55, 1985.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ppgen.arguments import Count, Seed, Share, checked
from ppgen.chains.recall import recall
from ppgen.objectives.storing import Storing
from ppgen.pairs.looking import seeded

__all__ = ["Capacity", "capacity_curve"]

_BROKEN = 0.05
"""Of the bits, wrong: above the 0.016 of what is remembered, and far below what is wrong beyond."""


@dataclass(frozen=True)
class Capacity:
    """Errors by the number of stored patterns.

    Args:
        num_units: D.
        num_patterns: P of each point.
        errors: the share of bits that are wrong after recall, the mean over patterns.

    >>> found = Capacity(100, (10, 20), (0.0, 0.1))
    >>> found.loads, found.breaks_at
    ((0.1, 0.2), 0.15...)
    """

    num_units: int
    num_patterns: tuple[int, ...]
    errors: tuple[float, ...]

    @property
    def loads(self) -> tuple[float, ...]:
        """P / D."""
        return tuple(num / self.num_units for num in self.num_patterns)

    @property
    def breaks_at(self) -> float | None:
        """The load at which 5 % of the bits are first wrong, on the line between two points; None: at none of them."""
        points = list(zip(self.loads, self.errors, strict=True))
        for (load, errors), (following, more) in pairwise(points):
            if errors < _BROKEN <= more:
                return load + (_BROKEN - errors) / (more - errors) * (following - load)
        return None


@checked
def capacity_curve(
    rule: Storing,
    num_patterns: Sequence[Count],
    num_units: Count = 500,
    *,
    flipped: Share = 0.0,
    num_sweeps: Count = 20,
    seed: Seed = 0,
) -> Capacity:
    """Store random patterns, and recall them.

    Args:
        rule: by which they are stored, ``Hebb()`` or ``PseudoInverse()``.
        num_patterns: P of each point, ascending; each has patterns of its own.
        num_units: D.
        flipped: the share of bits that are wrong where recall begins.
        num_sweeps: of recall, at most.
        seed: of the patterns.

    >>> from ppgen.inference import Hebb
    >>> found = capacity_curve(Hebb(), (5, 60), num_units=100)
    >>> found.loads, found.errors[0] < 0.01 < found.errors[1]
    ((0.05, 0.6), True)
    """
    with seeded(seed), torch.no_grad():
        errors = tuple(_errors(rule, num, num_units, flipped, num_sweeps) for num in num_patterns)
    return Capacity(num_units, tuple(num_patterns), errors)


def _errors(rule: Storing, num: int, num_units: int, flipped: float, num_sweeps: int) -> float:
    patterns = (torch.rand(num, num_units) < 0.5).double()
    start = torch.where(torch.rand_like(patterns) < flipped, 1 - patterns, patterns)
    weight = rule.couplings(patterns)
    found: Tensor = recall(start, weight, weight.new_zeros(num_units), num_sweeps).end
    return float((found != patterns).double().mean())
