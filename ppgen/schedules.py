"""Schedules: hyper-parameters that are functions of the step.

A schedule is any callable ``step -> number``; those here are frozen dataclasses whose text form,
``linear(0, 1, 1000)``, is also how the command line and ``config.json`` write them.
"""

from __future__ import annotations

import ast
import math
import re
from abc import ABC, abstractmethod
from dataclasses import astuple, dataclass
from typing import Any

from ppgen.errors import UsageError, nearest

__all__ = ["Schedule", "cyclical", "exponential", "linear", "parse_schedule", "stepwise"]


class Schedule(ABC):
    """Base of the schedules below; ``str`` gives the text that :func:`parse_schedule` reads."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The value at ``step``."""

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, astuple(self)))})"  # type: ignore[call-overload]


@dataclass(frozen=True)
class linear(Schedule):  # noqa: N801  # reads as a function
    """From ``start`` to ``end`` over ``steps`` steps, then ``end``.

    >>> linear(0.0, 1.0, 10)(5)
    0.5
    """

    start: float
    end: float
    steps: int

    def __call__(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


@dataclass(frozen=True)
class exponential(Schedule):  # noqa: N801
    """From ``start`` to ``end`` at a constant ratio over ``steps`` steps, then ``end``.

    >>> round(exponential(1.0, 0.01, 2)(1), 6)
    0.1
    """

    start: float
    end: float
    steps: int

    def __call__(self, step: int) -> float:
        return self.start * math.exp(math.log(self.end / self.start) * min(step / self.steps, 1.0))


@dataclass(frozen=True)
class cyclical(Schedule):  # noqa: N801
    """Repeats every ``period`` steps: a linear rise over its first half, then ``end`` (Fu et al. 2019).

    >>> [cyclical(0.0, 1.0, 4)(t) for t in range(6)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """

    start: float
    end: float
    period: int

    def __call__(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(2 * (step % self.period) / self.period, 1.0)


@dataclass(frozen=True)
class stepwise(Schedule):  # noqa: N801
    """``values[i]`` from step ``starts[i]`` on; for whole numbers too, such as a growing ``num_particles``.

    >>> stepwise((0, 100), (1, 5))(250)
    5
    """

    starts: tuple[int, ...]
    values: tuple[float, ...]

    def __call__(self, step: int) -> float:
        return max((start, value) for start, value in zip(self.starts, self.values, strict=True) if start <= step)[1]


_KINDS = {kind.__name__: kind for kind in (linear, exponential, cyclical, stepwise)}


def parse_schedule(value: Any) -> Any:
    """A schedule from its text, ``"linear(0, 1, 1000)"``; anything else is returned as it is.

    Raises:
        UsageError: text of that form with an unknown name or arguments that do not fit.
    """
    match = re.fullmatch(r"\s*(\w+)\((.*)\)\s*", value) if isinstance(value, str) else None
    if match is None:
        return value
    name, arguments = match.groups()
    if name not in _KINDS:
        raise UsageError(f"expected a schedule, got {value!r}{nearest(name, _KINDS)}")
    try:
        return _KINDS[name](*ast.literal_eval(f"({arguments},)"))
    except (ValueError, SyntaxError, TypeError) as error:
        raise UsageError(
            f"schedule {value!r} cannot be read ({error}): write numbers, as in linear(0, 1, 1000)."
        ) from error
