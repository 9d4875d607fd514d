"""A question of a diagnosis: the words people ask it in, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args, get_type_hints

from ppgen.diagnostics.finding import Finding
from ppgen.evaluation.case import Case

__all__ = ["Answer", "Question", "asks"]

Answer = Callable[[Case], Finding | None]
"""None where the question does not arise for such a pair."""


@dataclass(frozen=True)
class Question:
    """Called with a case it gives the finding, under its own name and title; made by :func:`asks`.

    Args:
        title: the question as people ask it, so that yes is good.
        answer: says what is found.

    >>> @asks("Are there data enough?")
    ... def enough(case: Case) -> Finding | None:
    ...     return Finding(status="good" if case.num_data > 100 else "warn", number=case.num_data, threshold=100)
    >>> enough.name, enough.title
    ('enough', 'Are there data enough?')
    """

    title: str
    answer: Answer

    @property
    def name(self) -> str:
        """In lower case with underscores, as it stands in JSON: the name of the function that answers."""
        return self.answer.__name__

    @property
    def kind(self) -> Any:
        """``Finding[...]`` of its own details: what the answer's annotation says it gives."""
        return get_args(get_type_hints(self.answer)["return"])[0]

    def __call__(self, case: Case) -> Finding | None:
        found = self.answer(case)
        return None if found is None else self.found(found)

    def found(self, finding: Finding) -> Finding:
        """The finding as one on this question."""
        return replace(finding, question=self.name, title=self.title)


def asks(title: str) -> Callable[[Answer], Question]:
    """Makes a question of the function below it, which answers it and is named as the question is in JSON.

    Args:
        title: the question as people ask it, so that yes is good.
    """
    return lambda answer: Question(title, answer)
