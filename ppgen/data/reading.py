"""What all readers of files share: one sentence for whatever is wrong with one, and a bound on what it unpacks to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppgen.errors import UsageError

__all__ = ["MOST_BYTES", "check_size", "reading"]

MOST_BYTES = 1 << 30
"""A compressed file or an archive unpacks to so much, 1 GiB, or is refused: a few kilobytes may say terabytes."""


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises on a broken file into one sentence.

    Raises:
        UsageError: something was raised.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # on damaged files the libraries raise anything, UnboundLocalError included
        raise UsageError(
            f"{path} must be {kind}, but it cannot be read ({type(error).__name__}: {' '.join(str(error).split())}): "
            "it is damaged or another file; fetch it again."
        ) from error


def check_size(size: int) -> None:
    """Raise ValueError, for :func:`reading`, where a file unpacks to ``size`` bytes and that is too much."""
    if size > MOST_BYTES:
        raise ValueError(
            f"it unpacks to {size / 2**30:,.1f} GiB or more, and no file may to more than {MOST_BYTES / 2**30:g} GiB: "
            "larger data are given as arrays"
        )
