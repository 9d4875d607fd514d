"""Two ways to one result, timed in turn on the machine at hand."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Timing", "in_turn", "microseconds"]

_ROUNDS = 5


class Timing(NamedTuple):
    """Microseconds, medians over rounds.

    Args:
        usual: by the way that is taken where nothing was measured.
        other: by the other way.
    """

    usual: float
    other: float


def in_turn(usual: Callable[[], Any], other: Callable[[], Any]) -> Timing:
    """Five rounds of both, after one that does not count."""
    rounds = [(microseconds(usual), microseconds(other)) for _ in range(1 + _ROUNDS)][1:]
    return Timing(*map(statistics.median, zip(*rounds, strict=True)))


def microseconds(call: Callable[[], Any]) -> float:
    """Of one call."""
    start = time.perf_counter()
    call()
    return 1e6 * (time.perf_counter() - start)
