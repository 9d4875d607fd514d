"""Marks of tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["sampled", "thorough"]


def thorough(cases: Iterable[Any]) -> list[Any]:
    """Cases of a test that ``make thorough`` runs alone; a tuple is one of several parameters."""
    marks = pytest.mark.thorough
    return [pytest.param(*(case if type(case) is tuple else (case,)), marks=marks) for case in cases]


def sampled(cases: Iterable[Any], every: int = 2) -> list[Any]:
    """One case of so many as it is; the others are :func:`thorough`: they repeat what it shows."""
    return [case if place % every == 0 else thorough([case])[0] for place, case in enumerate(cases)]
