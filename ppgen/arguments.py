"""What an argument may be is said once, by its annotation, and checked here, whoever gives it: Python or the shell.

An annotation is a type, ``Annotated`` with a range or a length (:data:`Count`, :data:`Positive`, ...), or a schedule of
such (:data:`ppgen.schedules.Scheduled`). Whole numbers have 64 bits and numbers are finite; neither is made
of text, of the other, or of True. Functions are checked by :func:`checked`, dataclasses by :func:`check_fields`, pairs
by :class:`ppgen.Pair`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AllowInfNan, ConfigDict, GetCoreSchemaHandler, Strict, TypeAdapter, ValidationError, WrapValidator
from pydantic.errors import PydanticUserError
from pydantic_core import core_schema

from ppgen.errors import UnknownNameError, UsageError, nearest, shown

__all__ = [
    "Count",
    "Kind",
    "NonNegative",
    "Positive",
    "ScheduleWords",
    "Seed",
    "Share",
    "Sizes",
    "Words",
    "as_typed",
    "at_least",
    "at_most",
    "at_most_data",
    "check_arguments",
    "check_fields",
    "check_names",
    "checked",
    "in_words",
    "kind_of",
    "kinds_of",
    "one_of",
    "options_of",
]

F = TypeVar("F", bound=Callable[..., Any])

Count = Annotated[int, Ge(1)]
"""1, 2, 3, ..."""
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Lt(1)]
"""A number in [0, 1)."""
Sizes = Sequence[Count]
"""A list of positive whole numbers, such as the sizes of layers; it may be empty."""


@dataclasses.dataclass(frozen=True)
class Words:
    """What an annotation is called in a sentence, where its type does not say it."""

    text: str


@dataclasses.dataclass(frozen=True)
class ScheduleWords(Words):
    """Marks the part of an annotation that is a schedule."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What an argument may be."""

    hint: Any
    reader: TypeAdapter[Any]

    @functools.cached_property
    def takes_schedules(self) -> bool:
        """Whether a schedule may stand for the value."""
        return any(isinstance(one, ScheduleWords) for part in get_args(self.hint) for one in get_args(part))

    def read(self, who: str, value: Any, advice: str = "") -> Any:
        """The value, or what its text says.

        Raises:
            UsageError: it is something else; ``who`` names the argument.
        """
        try:
            return self.reader.validate_python(value)
        except ValidationError as error:
            causes = (one.get("ctx", {}).get("error") for one in error.errors(include_input=False, include_url=False))
            said = next((cause for cause in causes if isinstance(cause, UsageError)), None)
            if said is not None:
                raise UsageError(f"{who}: {said}") from None
            advice += _beyond(value) + self._as_a_list(value)
            raise UsageError(f"{who} must be {in_words(self.hint)}, got {shown(value)}{advice}.") from None

    def _as_a_list(self, value: Any) -> str:
        """What to write for a list of this value alone."""
        try:
            self.reader.validate_python([value])
        except ValidationError:
            return ""
        return f": write [{shown(value)}]"


@functools.cache
def kind_of(hint: Any) -> Kind:
    """The kind that an annotation stands for."""
    config = ConfigDict(arbitrary_types_allowed=True)
    try:
        return Kind(hint, TypeAdapter(_strict(hint), config=config))
    except PydanticUserError:  # a type of the user's that pydantic has no notion of
        return Kind(hint, TypeAdapter(Any))


@functools.cache
def kinds_of(owner: Callable[..., Any]) -> Mapping[str, Kind]:
    """The kinds of a function's arguments, or of a dataclass's fields, by name; those without annotation are left out.

    Annotations that cannot be looked up, such as names imported for type checkers alone, count as none.
    """
    try:
        hints = get_type_hints(owner, include_extras=True)
        return {name: kind_of(hint) for name, hint in hints.items() if get_origin(hint) is not ClassVar}
    except (NameError, TypeError, AttributeError):
        return {}


def check_fields(instance: Any, owner: str = "") -> None:
    """Check the fields of a dataclass, which afterwards hold what was read; for ``__post_init__``.

    Raises:
        UsageError: one is not what its annotation says.
    """
    kinds = kinds_of(type(instance))  # type: ignore[arg-type]  # classes are hashable
    for field in dataclasses.fields(instance):
        value = _read(kinds, field.name, getattr(instance, field.name), owner)
        object.__setattr__(instance, field.name, value)  # frozen ones too, while they are made


def check_arguments(function: Callable[..., Any], given: inspect.BoundArguments) -> None:
    """Check the arguments of a call, which afterwards are what was read.

    Raises:
        UsageError: one is not what its annotation says.
    """
    kinds, variadic = kinds_of(function), (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for name, value in given.arguments.items():
        if given.signature.parameters[name].kind not in variadic:
            given.arguments[name] = _read(kinds, name, value)


def checked(function: F) -> F:
    """``function``, or a class, whose calls are checked.

    Raises:
        UsageError: at a call, an argument that is not what its annotation says.
    """

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        given = inspect.signature(function).bind(*args, **options)
        check_arguments(_maker(function), given)
        return function(*given.args, **given.kwargs)

    return call  # type: ignore[return-value]  # it is called as the function is


def as_typed(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a shell hands on, where a word says True or False to an argument that is one of these.

    Such words are yes, no, on, off, true, false, 1 and 0; all else stays as it is.
    """
    kinds, truth = kinds_of(_maker(function)), TypeAdapter(bool)
    found = dict(options)
    for name, value in options.items():
        if name in kinds and bool in (kinds[name].hint, *get_args(kinds[name].hint)):
            with suppress(ValidationError):
                found[name] = truth.validate_python(value)
    return found


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """What a call may leave out, with its default.

    >>> options_of(sorted)
    {'key': None, 'reverse': False}
    """
    return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.default is not p.empty}


def check_names(owner: str, function: Callable[..., Any], options: Iterable[str], *, skip: int = 0) -> None:
    """Check that a function has options of these names, its first ``skip`` arguments aside.

    Raises:
        UsageError: it lacks one; the nearest name is suggested.
    """
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    for option in options:
        one_of(f"{owner} has no option", option, (p.name for p in parameters))


def in_words(hint: Any, many: bool = False) -> str:
    """What an annotation allows, for a sentence; None, which mostly stands for not given, is not mentioned.

    >>> in_words(Annotated[Sizes, Len(2, 3)]), in_words(Share | None)
    ('a list of whole numbers of at least 1 (2 to 3 of them)', 'a number of at least 0 and below 1')
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        own = [one for one in args[1:] if hasattr(one, "text")]
        return own[0].text if own else f"{in_words(args[0], many)}{_range(args[1:])}"
    if origin in (Union, types.UnionType):
        *rest, last = dict.fromkeys(in_words(one, many) for one in args if one is not type(None))
        return f"{', '.join(rest)}, or {last}" if rest else last
    if origin is Literal:
        return " or ".join(map(repr, args))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mappings" if many else "a mapping of names to values"
    if isinstance(origin, type) and issubclass(origin, Iterable) and args:
        return f"{'lists' if many else 'a list'} of {in_words(args[0], True)}"
    one, several = _WORDS.get(hint, (f"a {getattr(hint, '__name__', hint)}",) * 2)
    return several if many else one


_WORDS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "True or False"),
    str: ("text", "texts"),
    type(None): ("None", "None"),
}


def _as_written(value: Any, read: Callable[[Any], float]) -> float:
    """A number; a whole one that a float has exactly stays whole."""
    number = read(value)
    return value if isinstance(value, int) and abs(value) < 2**53 else number


_STRICT: dict[Any, Any] = {
    int: Annotated[int, Strict(), Ge(-(2**63)), Lt(2**63)],
    float: Annotated[float, Strict(), AllowInfNan(False), WrapValidator(_as_written)],
    str: Annotated[str, Strict()],
    bool: Annotated[bool, Strict()],
}


@dataclasses.dataclass(frozen=True)
class _Instance:
    """An instance of a class, which pydantic would make of a dict."""

    cls: type

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(self.cls)


def _strict(hint: Any) -> Any:
    """The annotation for pydantic, which would make numbers of text and of truth values, and copy dataclasses."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_strict(args[0]), *args[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_strict, args))]  # noqa: UP007  # as many as there are
    if isinstance(origin, type) and issubclass(origin, Iterable) and args:
        return origin[tuple(map(_strict, args))]  # type: ignore[index]  # list, tuple, Sequence, Mapping, ...
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return Annotated[Any, _Instance(hint)]
    return _STRICT.get(hint, hint)


def _range(constraints: Iterable[Any]) -> str:
    """`` of at least 0 and below 1``, or how many there must be."""
    found = []
    for one in constraints:
        match one:
            case Ge(ge=least):
                found.append(f"of at least {least}")
            case Gt(gt=least):
                found.append(f"above {least}")
            case Le(le=most):
                found.append(f"of at most {most}")
            case Lt(lt=most):
                found.append(f"below {most}")
            case Len(min_length=least, max_length=most):
                upper = f"{least} to {most}" if most is not None else f"at least {least}"
                found.append(f"({least if least == most else upper} of them)")
    return f" {' and '.join(found)}" if found else ""


def _beyond(value: Any) -> str:
    """Why a number that looks like one is none."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return ", which has more than 64 bits"
    return ", which is not finite" if isinstance(value, float) and math.isinf(value) else ""


def _maker(function: Callable[..., Any]) -> Callable[..., Any]:
    """What has the annotations of a call: of a class its constructor."""
    return function.__init__ if isinstance(function, type) else function  # type: ignore[misc]  # of this very class


def _read(kinds: Mapping[str, Kind], name: str, value: Any, owner: str = "") -> Any:
    if name not in kinds:
        return value
    who = f"{name} of {owner}" if owner else name
    return kinds[name].read(who, value, _on_schedules(kinds, name, value))


def _on_schedules(kinds: Mapping[str, Kind], name: str, value: Any) -> str:
    """Which options take a schedule, where one is given to an option that takes none."""
    is_schedule = callable(value) or (isinstance(value, str) and value.endswith(")"))
    if not is_schedule or kinds[name].takes_schedules:
        return ""
    takers = [other for other, kind in kinds.items() if kind.takes_schedules]
    return f"; a schedule may be given for {' and '.join(takers)} alone" if takers else "; it takes no schedule"


Seed = Annotated[int, Ge(0), Lt(2**32 - 1)]
"""Of NumPy's ``RandomState``, and the next one of another."""


def one_of(said: str, name: Any, known: Iterable[str]) -> None:
    """Check that a name is known.

    Raises:
        UnknownNameError: it is not: ``said``, the name, and the nearest of those that are.

    >>> one_of("expected the name of a data set, got", "digit", ["digits", "mnist"])
    Traceback (most recent call last):
    ppgen.errors.UnknownNameError: expected the name of a data set, got 'digit': did you mean 'digits'? Known names: ...
    """
    known = sorted(known)
    if name not in known:
        raise UnknownNameError(f"{said} {shown(name)}{nearest(name, known)}")


def at_least(who: str, value: Any, least: int, advice: str = "") -> None:
    """Raise UsageError if the number ``value``, which ``who`` names, is less; for what no annotation checks."""
    if not value >= least:
        raise UsageError(f"{who} must be at least {least}, got {shown(value)}{advice}.")


def at_most(who: str, value: int, most: int) -> None:
    """Raise UsageError if ``value`` is more than the data allow."""
    if value > most:
        raise UsageError(f"{who} must be a whole number of at most {most}, got {value}.")


def at_most_data(who: str, option: str, value: int, num_data: int | None, what: str = "data") -> None:
    """Check that a pair has no more parts, each learnt from data alone, than there are training data; None: unknown.

    Raises:
        UsageError: it has.
    """
    if num_data is not None and value > num_data:
        raise UsageError(f"{option} = {value} of {who}, and there are {num_data} {what}: lower it.")
