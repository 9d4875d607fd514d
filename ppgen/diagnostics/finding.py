"""The answer to one question, with the numbers that the question found beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal

from pydantic import BeforeValidator, Field, WrapSerializer, WrapValidator
from typing_extensions import TypeVar

from ppgen.pages.numbers import apart

__all__ = ["Direction", "Finding", "KHat", "LogWeight", "Real", "Status"]

Status = Literal["good", "warn", "bad", "unknown"]
"""``unknown``: the question arises for such a pair, and could not be answered; the meaning says why."""

Direction = Literal["at most", "at least", ""]
"""On which side of the threshold a number is good; empty: it was not said, as by earlier versions."""

_Given = Field(exclude_if=lambda value: not value)
"""Of a field that JSON has only where it is set."""


def _if_none(number: float) -> BeforeValidator:
    """Reads the null that JSON has in place of a number that is not finite."""
    return BeforeValidator(lambda value: number if value is None else value)


Real = Annotated[float, _if_none(math.nan)]
KHat = Annotated[float, _if_none(math.inf)]
LogWeight = Annotated[float, _if_none(-math.inf)]

D = TypeVar("D", default=Any)


@dataclass(frozen=True, kw_only=True)
class Finding(Generic[D]):
    """The answer to one question.

    Args:
        question: its name, as it stands in JSON, and ``title``, the words people ask it in:
            :class:`ppgen.diagnostics.Question` fills them in.
        status: good, warn, bad or unknown.
        number: by which it was judged; None where there is none.
        threshold: that the number was held against; None where there is none.
        direction: on which side of the threshold the number is good.
        quantity: what the number is called, such as ``k-hat``; empty where the unit says it.
        unit: of number and threshold, such as ``nats``; empty for a plain number.
        source: of the threshold or the method: authors, year, equation or section.
        meaning: what was found, in words, with the units of the number.
        advice: what to do next; empty where there is nothing to do.
        details: whatever else was found: a dataclass of the question's own; None, {} in JSON: it was not answered.
    """

    question: str = ""
    title: str = ""
    status: Status
    number: float | None = None
    threshold: float | None = None
    direction: Annotated[Direction, _Given] = ""
    quantity: Annotated[str, _Given] = ""
    unit: Annotated[str, _Given] = ""
    source: str = ""
    meaning: str = ""
    advice: str = ""
    details: Annotated[
        D,
        WrapValidator(lambda value, read: read(value) if value else None),
        WrapSerializer(lambda value, write: {} if value is None else write(value)),
    ] = None  # type: ignore[assignment]  # where there is no answer, which no reader of the details has to think of

    @property
    def held(self) -> str:
        """The number and what it was held against, in words; empty where there is no number.

        >>> Finding(status="good", number=0.6, threshold=0.667, direction="at most", quantity="k-hat").held
        'k-hat 0.6, at most 0.67'
        >>> Finding(status="warn", number=1.013, threshold=1.01, direction="at most", quantity="R-hat").held
        'R-hat 1.013, at most 1.01'
        >>> Finding(status="warn", number=0.3, threshold=0.2, unit="nats").held
        '0.3 nats, held against 0.2 nats'
        """
        if self.number is None:
            return ""
        number = apart(self.number, self.threshold)
        named = " ".join(filter(None, (self.quantity, number, self.unit)))
        return f"{named}, {self.limit}" if self.limit else named

    @property
    def limit(self) -> str:
        """The threshold with its direction and unit; empty where there is none."""
        if self.threshold is None:
            return ""
        return " ".join(filter(None, (self.direction or "held against", apart(self.threshold, self.number), self.unit)))
