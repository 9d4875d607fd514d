"""How many threads compute a step on a CPU: all that torch may take, or one.

Threads that wait for each other after every loop of a small step cost more than they give, the more so where a virtual
machine's cores come and go. It is not guessed: :func:`timed_threads` runs both on the machine at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from ppgen.machine.timing import Timing, in_turn, microseconds

__all__ = ["on_one_thread", "timed_threads"]

P = ParamSpec("P")
T = TypeVar("T")

_LONG = 20_000.0
"""Microseconds from which a step is not timed: its loops are long enough for all threads."""


def on_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """``function`` computed by the calling thread alone; torch's number of threads is put back after each call."""

    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return alone


def timed_threads(call: Callable[[], object]) -> Timing | None:
    """By all threads and by one; None of a call of more than 20 ms, which is not worth the time."""
    call()
    return None if microseconds(call) > _LONG else in_turn(call, on_one_thread(call))
