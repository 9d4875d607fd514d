"""Which objectives are worth their time: no other of the same bound has less variance in less time."""

from __future__ import annotations

from collections.abc import Iterable

from ppgen.comparison.records import ObjectiveResult

__all__ = ["pareto_front"]


def pareto_front(objectives: Iterable[ObjectiveResult]) -> tuple[ObjectiveResult, ...]:
    """The Pareto front of variance against seconds a draw, the fastest first, by the values and not their intervals.

    Args:
        objectives: of one bound; those that are biased, or say so, are left out.
    """
    front: list[ObjectiveResult] = []
    for one in sorted(
        (one for one in objectives if one.fits), key=lambda one: (one.seconds.value, one.whole.variance.value)
    ):
        if not front or one.whole.variance.value < front[-1].whole.variance.value:
            front.append(one)
    return tuple(front)
