"""Marks of tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["thorough"]


def thorough(cases: Iterable[Any]) -> list[Any]:
    """Cases of a test that ``make thorough`` runs alone; a tuple is one of several parameters."""
    marks = pytest.mark.thorough
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=marks) for case in cases]
