"""Checks of the options that loaders share: each says what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from ppgen.errors import UsageError, nearest

__all__ = ["count", "flag", "one_of", "positive"]


def one_of(option: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise UsageError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise UsageError(f"unknown value {option}={value!r}{nearest(str(value), allowed)}")


def flag(option: str, value: Any) -> None:
    """Raise UsageError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise UsageError(f"{option} must be True or False, got {value!r}.")


def count(option: str, value: Any, *, least: int = 1, most: int | None = None) -> None:
    """Raise UsageError unless ``value`` is an integer from ``least`` to ``most``."""
    bounds = f"at least {least}" if most is None else f"from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        raise UsageError(f"{option} must be an integer {bounds}, got {value!r}.")


def positive(option: str, value: Any) -> None:
    """Raise UsageError unless ``value`` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise UsageError(f"{option} must be a positive number, got {value!r}.")
