"""Progress bars, and lines to the user, on standard error, and the time that a loop may take.

Whatever takes long goes through :func:`track`, or moves a :func:`bar`: there a loop ends whose time is up.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, TypeVar

from rich.console import Console
from rich.progress import BarColumn as Bar
from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ppgen.errors import UsageError
from ppgen.machine.ranks import speaks

__all__ = ["OutOfTimeError", "bar", "check_time", "in_seconds", "say", "track"]

T = TypeVar("T")


class OutOfTimeError(UsageError):
    """What was asked for took longer than it was given."""


@dataclass(frozen=True)
class _Budget:
    seconds: float
    end: float


_BUDGET: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def in_seconds(seconds: float | None) -> Iterator[None]:
    """Within it no loop goes on after so many seconds; None: as long as it takes.

    Raises:
        OutOfTimeError: one would.

    >>> with in_seconds(1e-9):
    ...     list(track(range(3), "numbers", False))
    Traceback (most recent call last):
    ...
    ppgen.machine.progress.OutOfTimeError: it takes longer than the 1e-09 seconds of its budget: ...
    """
    if seconds is None:
        yield
        return
    token = _BUDGET.set(_Budget(seconds, time.monotonic() + seconds))
    try:
        yield
    finally:
        _BUDGET.reset(token)


def check_time() -> None:
    """Go on only while there is time.

    Raises:
        OutOfTimeError: there is none left.
    """
    budget = _BUDGET.get()
    if budget is not None and time.monotonic() > budget.end:
        raise OutOfTimeError(
            f"it takes longer than the {budget.seconds:g} seconds of its budget: give it more, or fewer data or "
            "particles."
        )


def bar(shown: bool = True) -> Progress:
    """A progress bar with a field ``note`` at its end; nothing is drawn unless ``shown`` and a person is watching.

    A person watches a terminal, or a notebook (where ``ipywidgets`` is installed, by which Rich draws there). Of bars
    within each other the outermost alone is drawn.
    """
    console = Console(stderr=True)
    watched = console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
    columns = TextColumn("{task.description}"), Bar(), TimeElapsedColumn(), TimeRemainingColumn()
    note = TextColumn("{task.fields[note]}")
    return _Bar(*columns, note, console=console, disable=not (shown and watched), transient=True)


class _Bar(Progress):
    """A bar that is not drawn within another one."""

    _drawn: ClassVar[int] = 0

    def start(self) -> None:
        """Draw it."""
        self.disable = self.disable or bool(_Bar._drawn)
        _Bar._drawn += not self.disable
        super().start()

    def stop(self) -> None:
        """Take it away."""
        super().stop()
        _Bar._drawn -= not self.disable


def say(sentence: str) -> None:
    """One line to the user; of several ranks one alone says it."""
    if speaks():
        print(f"ppgen: {sentence}", file=sys.stderr, flush=True)


def track(items: Sequence[T], description: str, shown: bool) -> Iterator[T]:
    """The items, with a bar that fills as they are taken.

    Raises:
        OutOfTimeError: see :func:`in_seconds`.
    """
    with bar(shown) as progress:
        task = progress.add_task(description, total=len(items), note="")
        for item in items:
            check_time()
            yield item
            progress.advance(task)
