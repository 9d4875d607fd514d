"""Schedules: hyper-parameters that are functions of the step.

A schedule is any callable ``step -> number``; those here are frozen dataclasses whose text form,
``linear(0, 1, 1000)``, is also how the command line and ``config.json`` write them. An option takes one where its
annotation says so, ``Scheduled[...]`` of what its values may be.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import core_schema

from ppgen.arguments import Count, Kind, Positive, ScheduleWords, check_fields, in_words, kind_of, one_of
from ppgen.errors import UsageError, shown

__all__ = [
    "SCHEDULES",
    "Schedule",
    "Scheduled",
    "cyclical",
    "exponential",
    "linear",
    "parse_call",
    "parse_schedule",
    "stepwise",
]

Number = TypeVar("Number", bound=float)


class Schedule(ABC):
    """Base of the schedules below; ``str`` gives the text that :func:`parse_schedule` reads.

    Raises:
        UsageError: an argument is none that it takes.

    >>> schedule = parse_schedule("linear(0, 1, 1000)")
    >>> schedule, schedule(500), schedule.extremes()
    (linear(0, 1, 1000), 0.5, (0.0, 1.0))
    """

    def __post_init__(self) -> None:
        check_fields(self, type(self).__name__)

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The value at ``step``."""

    @abstractmethod
    def extremes(self) -> Sequence[float]:
        """Values that all of its values lie between."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, astuple(self)))})"  # type: ignore[call-overload]


@dataclass(frozen=True, repr=False)
class linear(Schedule):  # noqa: N801  # reads as a function
    """From ``start`` to ``end`` over ``steps`` steps, then ``end``.

    >>> linear(0.0, 1.0, 10)(5)
    0.5
    """

    start: float
    end: float
    steps: Count

    def __call__(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)

    def extremes(self) -> Sequence[float]:
        return self(0), self(self.steps)


@dataclass(frozen=True, repr=False)
class exponential(Schedule):  # noqa: N801
    """From ``start`` to ``end`` at a constant ratio over ``steps`` steps, then ``end``.

    >>> round(exponential(1.0, 0.01, 2)(1), 6)
    0.1
    """

    start: Positive
    end: Positive
    steps: Count

    def extremes(self) -> Sequence[float]:
        return self(0), self(self.steps)

    def __call__(self, step: int) -> float:
        return self.start * math.exp(math.log(self.end / self.start) * min(step / self.steps, 1.0))


@dataclass(frozen=True, repr=False)
class cyclical(Schedule):  # noqa: N801
    """Repeats every ``period`` steps: a linear rise over its first half, then ``end`` (Fu et al. 2019).

    >>> [cyclical(0.0, 1.0, 4)(t) for t in range(6)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """

    start: float
    end: float
    period: Count

    def __call__(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(2 * (step % self.period) / self.period, 1.0)

    def extremes(self) -> Sequence[float]:
        return self(0), self.start + (self.end - self.start) * 1.0


@dataclass(frozen=True, repr=False)
class stepwise(Schedule):  # noqa: N801
    """``values[i]`` from step ``starts[i]`` on, rising from 0; whole numbers stay so, as a growing ``num_particles``.

    >>> stepwise((0, 100), (1, 5))(250)
    5
    """

    starts: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = all(start < following for start, following in pairwise(self.starts))
        if self.starts[:1] != (0,) or not rising or len(self.starts) != len(self.values):
            raise UsageError(
                "stepwise takes steps that rise from 0 and as many values, as in stepwise((0, 1000), (1, 5)), got "
                f"{shown(self.starts)} and {shown(self.values)}."
            )

    def extremes(self) -> Sequence[float]:
        return self.values

    def __call__(self, step: int) -> float:
        return max((start, value) for start, value in zip(self.starts, self.values, strict=True) if start <= step)[1]


SCHEDULES = {kind.__name__: kind for kind in (linear, exponential, cyclical, stepwise)}
"""Those above by name."""


def parse_schedule(value: Any) -> Any:
    """A schedule from its text, ``"linear(0, 1, 1000)"``; anything else is returned as it is.

    Raises:
        UsageError: text of that form with an unknown name or arguments that do not fit.
    """
    match = re.fullmatch(r"\s*(\w+)\(.*\)\s*", value) if isinstance(value, str) else None
    if match is None:
        return value
    one_of("expected the name of a schedule, got", match[1], SCHEDULES)
    name, arguments, options = parse_call(value, "numbers, as in linear(0, 1, 1000)")
    try:
        return SCHEDULES[name](*arguments, **options)
    except TypeError as error:
        raise _unreadable(value, error, "numbers, as in linear(0, 1, 1000)") from error


def parse_call(text: str, what: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Name, arguments and options of ``name(1, key=2)``, or of a name alone; the values are Python literals.

    Raises:
        UsageError: it cannot be read: it should be ``what``.

    >>> parse_call("SGD(momentum=0.9)", "an optimizer")
    ('SGD', (), {'momentum': 0.9})
    """
    try:
        match ast.parse(text.strip(), mode="eval").body:
            case ast.Name(id=name):
                return name, (), {}
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=options):
                named = {str(option.arg): ast.literal_eval(option.value) for option in options}
                return name, tuple(map(ast.literal_eval, arguments)), named
        raise ValueError("no name with options in parentheses")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise _unreadable(text, error, what) from error


def _unreadable(text: str, error: Exception, what: str) -> UsageError:
    return UsageError(f"{shown(text)} cannot be read ({shown(str(error))}): write {what}.")


@dataclass(frozen=True)
class _Of(ScheduleWords):
    """Has an annotation ``Callable[[int], X]`` read schedules, whose values are checked to be X."""

    text: str = "a schedule of such"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(functools.partial(_read, kind_of(get_args(source)[1])))


Scheduled: TypeAlias = Number | Annotated[Callable[[int], Number], _Of()]
"""A hyper-parameter: a number of some kind, or a schedule that maps the step (0, 1, ...) to such numbers."""


def _read(kind: Kind, value: Any) -> Any:
    schedule = parse_schedule(value)
    if not callable(schedule):
        raise ValueError("no schedule")
    for number in _some_values(schedule):
        try:
            kind.reader.validate_python(number)
        except ValidationError:
            raise UsageError(
                f"the schedule {shown(schedule)} gives {shown(number)}, and its values must each be "
                f"{in_words(kind.hint)}."
            ) from None
    return schedule


def _some_values(schedule: Callable[[int], float]) -> Sequence[float]:
    """All that tell of a schedule's values: the first alone of a callable of the user's."""
    try:
        return schedule.extremes() if isinstance(schedule, Schedule) else (schedule(0),)
    except Exception as error:  # whatever a callable that is no schedule raises
        raise ValueError("no schedule") from error
