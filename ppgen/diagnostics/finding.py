"""The answer to one question, with the numbers that the question found beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal

from pydantic import BeforeValidator, WrapSerializer, WrapValidator
from typing_extensions import TypeVar

__all__ = ["Finding", "KHat", "LogWeight", "Real", "Status"]

Status = Literal["good", "warn", "bad", "unknown"]
"""``unknown``: the question arises for such a pair, and could not be answered; the meaning says why."""


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
    source: str = ""
    meaning: str = ""
    advice: str = ""
    details: Annotated[
        D,
        WrapValidator(lambda value, read: read(value) if value else None),
        WrapSerializer(lambda value, write: {} if value is None else write(value)),
    ] = None  # type: ignore[assignment]  # where there is no answer, which no reader of the details has to think of
