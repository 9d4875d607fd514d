"""Marks of tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["thorough"]


def thorough(cases: Iterable[Any]) -> list[Any]:
    """Cases of a test that ``make thorough`` runs alone."""
    return [pytest.param(case, marks=pytest.mark.thorough) for case in cases]
