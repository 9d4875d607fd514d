"""An estimator beside the same with one mistake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from ppgen.objectives.pathwise import PathDerivative
from tests.discrete_doubles import DiscreteDouble

__all__ = ["Mutant"]


@dataclass(frozen=True)
class Mutant:
    """A sound estimator, and the same with a mistake: another class, or a part that is replaced."""

    sound: Any
    wrong: Any
    double: type[DiscreteDouble]
    part: str = ""
    by: Any = None
    rounds: int = 4

    @property
    def bound(self) -> str:
        return str(self.sound.bound)

    def mutate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the part that is wrong in its place, for the rest of the test."""
        if self.part:
            monkeypatch.setattr(self.part, self.by)

    def __str__(self) -> str:
        path = getattr(self.wrong, "pathwise", None)
        wrong = (
            self.by.__name__ if self.part else type(path if isinstance(path, PathDerivative) else self.wrong).__name__
        )
        return f"{type(self.sound).__name__}-{self.bound}-{wrong}"
