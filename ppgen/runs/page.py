"""A run's page is written by a room above this one, which hands its writer down when ppgen is imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ppgen.errors import UsageError

__all__ = ["REPORT", "page_of", "writes_pages"]

REPORT = "report.html"
"""The page in a run's directory."""

Writer = TypeVar("Writer", bound=Callable[..., Path])

_WRITERS: list[Callable[..., Path]] = []


def writes_pages(writer: Writer) -> Writer:
    """Registers the function of a run and a path, or None, that writes the run's page and returns where it is."""
    _WRITERS[:] = [writer]
    return writer


def page_of(run: Any, path: Path | None) -> Path:
    """Write the run's page.

    Raises:
        UsageError: no path is given, and the run has no directory or keeps nothing of these parameters there; the place
            cannot be written.
    """
    if path is None and not run.writes:
        raise UsageError("what is found of these parameters is not kept in the run: give the page a path of its own.")
    (writer,) = _WRITERS
    return writer(run, path)
