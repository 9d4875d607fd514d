"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import ClassVar, TypeVar

from rich.console import Console
from rich.progress import BarColumn as Bar
from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["bar", "track"]

T = TypeVar("T")


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


def track(items: Sequence[T], description: str, shown: bool) -> Iterator[T]:
    """The items, with a bar that fills as they are taken."""
    with bar(shown) as progress:
        task = progress.add_task(description, total=len(items), note="")
        for item in items:
            yield item
            progress.advance(task)
