"""Features taken in turn by a long draw, as whoever asks for it has them taken: with a bar, say, or a limit of time.

A distribution knows no terminal. It takes its features through :func:`in_turn`, one by one; around it
:func:`taken_by` says by what, as the command line does (:func:`ppgen.machine.progress.track`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

__all__ = ["Take", "in_turn", "taken_by"]

Take: TypeAlias = Callable[[Sequence[int], str], Iterable[int]]
"""Gives the items of a sequence one after the other, told in a word what they are."""

_TAKE: ContextVar[Take] = ContextVar("take", default=lambda items, what: items)


def in_turn(items: Sequence[int], what: str = "features") -> Iterator[int]:
    """The items, one after the other, by what :func:`taken_by` says.

    >>> list(in_turn(range(3)))
    [0, 1, 2]
    """
    return iter(_TAKE.get()(items, what))


@contextmanager
def taken_by(take: Take) -> Iterator[None]:
    """Within it, in this context, long draws take their features by ``take``.

    >>> with taken_by(lambda items, what: [print(f"{len(items)} {what}"), *items][1:]):
    ...     list(in_turn(range(3), "pixels"))
    3 pixels
    [0, 1, 2]
    """
    token = _TAKE.set(take)
    try:
        yield
    finally:
        _TAKE.reset(token)
