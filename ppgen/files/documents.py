"""The one reader of documents, JSON that a run keeps and TOML or JSON that people write.

Types and ranges are checked, and a fault is named by file and key. What is read is declared by its owner, as a
:class:`Document` or a dataclass, whose undeclared keys are left as they are, or as a :class:`Written`, where there are
none. A ``format`` above :data:`FORMAT` is of a later ppgen, and is refused before anything else is looked at.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ppgen.arguments import one_of
from ppgen.errors import UsageError, expected, first_sentence, shown
from ppgen.files.jsonable import plain

__all__ = [
    "FORMAT",
    "Document",
    "Error",
    "Seconds",
    "WholeNumber",
    "Written",
    "from_document",
    "parse_document",
    "read_bytes",
    "read_document",
    "to_document",
]

FORMAT = 1
"""Of all that this version writes."""

T = TypeVar("T")


def _check_error(value: float) -> float:
    if value < 0:
        raise UsageError(f"expected a standard error, got {value}")
    return value


WholeNumber = Annotated[int, Field(ge=0)]
"""A whole number of at least 0."""

Error = Annotated[float, AfterValidator(_check_error)]
"""A standard error."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A time."""


class Document(BaseModel):
    """A JSON object with declared keys, whose values must have their very types, and any others."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Written(Document):
    """What people write: a key that is not declared is a slip, and is refused."""

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        for key in self.model_extra or ():
            one_of("there is no key", key, type(self).model_fields)
        return self


class _Formatted(Document):
    format: WholeNumber = FORMAT


def read_document(file: Path, kind: type[T], mend: str) -> T:
    """The document in ``file`` as a ``kind``.

    Args:
        file: to read; TOML if it is named so, else JSON.
        kind: what it must be.
        mend: what the user can do if it is not, as the end of a sentence.

    Raises:
        UsageError: it cannot be read, or is not a ``kind``; the key is named.
    """
    data = read_bytes(file, mend)
    text = _of_toml(data, file, mend) if file.suffix == ".toml" else data
    return parse_document(text, kind, str(file), mend)


def parse_document(data: bytes | str, kind: type[T], where: str, mend: str) -> T:
    """The JSON document ``data`` as a ``kind``; ``where`` names it.

    Raises:
        UsageError: as :func:`read_document`.
    """
    try:
        _check_format(data, where)
        found: T = _adapter(cast(Hashable, kind)).validate_json(data, strict=True)
    except ValidationError as error:
        cause = "" if Written in getattr(kind, "__mro__", ()) else "it was edited or cut; "
        raise UsageError(f"{where} cannot be read: {_fault(error)}; {cause}{mend}.") from error
    return found


def from_document(document: Any, kind: type[T]) -> T:
    """A JSON document that was read already, as a ``kind``.

    Raises:
        UsageError: it is none.
    """
    return parse_document(json.dumps(document), kind, "the document", "give what to_json gave")


def to_document(value: Any) -> Any:
    """What a dataclass is in JSON, with None for numbers that are not finite."""
    return plain(_adapter(cast(Hashable, type(value))).dump_python(value, by_alias=True))


def read_bytes(file: Path, mend: str) -> bytes:
    """What ``file`` holds.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}; {mend}.") from error


def _of_toml(data: bytes, file: Path, mend: str) -> str:
    """The same document in JSON, dates as text."""
    try:
        return json.dumps(tomllib.loads(data.decode()), default=str)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read: it is no TOML ({first_sentence(error)}); {mend}.") from error


def _check_format(data: bytes | str, where: str) -> None:
    found = _adapter(_Formatted).validate_json(data).format
    if found > FORMAT:
        raise UsageError(
            f"{where} is of format {found}, and this version of ppgen reads formats up to {FORMAT}: use the version "
            "that wrote it, or a later one."
        )


def _fault(error: ValidationError) -> str:
    """The first fault in words: the key, what was expected there and what came."""
    first = error.errors(include_url=False)[0]
    key = shown(".".join(map(str, first["loc"])))
    if first["type"] == "missing":
        return f"{key} is missing"
    cause = first.get("ctx", {}).get("error")
    words, got = expected(first["msg"]), f", got {shown(first['input'])}"
    if isinstance(cause, UsageError):
        words, got = str(cause).rstrip("."), ""
    return f"{key}: {words}{got}" if first["loc"] else words


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))
