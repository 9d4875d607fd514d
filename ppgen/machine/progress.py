"""Progress bars, and lines to the user, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn as Bar
from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ppgen.machine.ranks import speaks

__all__ = ["bar", "say", "track"]

T = TypeVar("T")


def bar(shown: bool = True) -> Progress:
    """A progress bar with a field ``note`` at its end; nothing is drawn unless ``shown`` and a person is watching."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), Bar(), TimeElapsedColumn(), TimeRemainingColumn()
    note = TextColumn("{task.fields[note]}")
    return Progress(*columns, note, console=console, disable=not (shown and console.is_terminal), transient=True)


def say(sentence: str) -> None:
    """One line to the user; of several ranks one alone says it."""
    if speaks():
        print(f"ppgen: {sentence}", file=sys.stderr, flush=True)


def track(items: Sequence[T], description: str, shown: bool) -> Iterator[T]:
    """The items, with a bar that fills as they are taken."""
    with bar(shown) as progress:
        task = progress.add_task(description, total=len(items), note="")
        for item in items:
            yield item
            progress.advance(task)
