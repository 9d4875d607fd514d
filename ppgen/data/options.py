"""What options that loaders share may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Lt

from ppgen.errors import UsageError, nearest, shown

__all__ = ["Seed", "at_most", "one_of"]

Seed = Annotated[int, Ge(0), Lt(2**32 - 1)]
"""Of NumPy's ``RandomState``, and the next one of another."""


def one_of(option: str, value: str, allowed: Sequence[str]) -> None:
    """Raise UsageError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise UsageError(f"unknown value {option}={shown(value)}{nearest(value, allowed)}")


def at_most(option: str, value: int, most: int) -> None:
    """Raise UsageError if ``value`` is more than the data allow."""
    if value > most:
        raise UsageError(f"{option} must be a whole number of at most {most}, got {value}.")
