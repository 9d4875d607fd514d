"""A class of torch's with some of its options: as Python has it, and as text."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from ppgen.arguments import kinds_of
from ppgen.errors import UsageError, nearest, shown
from ppgen.schedules import parse_call

__all__ = ["Named"]


@dataclass(frozen=True)
class Named:
    """``SGD(momentum=0.9)``: a class, and those of its options that are given; ``str`` is the text that is read.

    Class attributes: ``what`` it is called in sentences, ``known`` classes, ``reserved`` options, each with what to do
    instead.
    """

    kind: type[Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    what: ClassVar[str]
    known: ClassVar[Iterable[type[Any]]]
    reserved: ClassVar[Mapping[str, str]]

    @classmethod
    def read(cls, value: Any) -> Self:
        """Of a text, of the class, or of a ``functools.partial`` of it.

        Raises:
            UsageError: it is none of these, or has options that the class does not take.
        """
        if isinstance(value, cls):
            return value
        key: Any
        if isinstance(value, str):
            key, positional, options = parse_call(value, cls.what)
        elif isinstance(value, functools.partial):
            key, positional, options = value.func, value.args, value.keywords
        else:
            key, positional, options = value, (), {}
        kind = next((one for one in cls.known if key is one or key == one.__name__), None)
        if kind is None:
            raise UsageError(f"expected {cls.what}, got {shown(value)}{nearest(key, (k.__name__ for k in cls.known))}")
        if positional:
            raise UsageError(f"options of {kind.__name__} are given by name, got {shown(positional)}.")
        found = cls(kind, {**options})
        found._check()
        return found

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in sorted(self.options.items()))
        return f"{self.kind.__name__}({inside})" if inside else self.kind.__name__

    def _check(self) -> None:
        """Names and types of the options, and that they can be read from their text again."""
        kinds = kinds_of(self.kind.__init__)
        takes = [name for name in inspect.signature(self.kind).parameters if name not in self.reserved]
        for name, value in self.options.items():
            if name not in takes:
                instead = f" here ({self.reserved[name]})" if name in self.reserved else ""
                raise UsageError(f"{self.kind.__name__} has no option {shown(name)}{instead}{nearest(name, takes)}")
            if name in kinds:
                kinds[name].read(f"{name} of {self.kind.__name__}", value)
        parse_call(str(self), self.what)  # so that a run can be resumed
