"""Hyper-parameters that are objectives themselves: by instance, as text, or as ``config.json`` has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ppgen.arguments import check_names
from ppgen.calls import parse_calls
from ppgen.errors import shown
from ppgen.objectives.objective import Objective
from ppgen.registry import OBJECTIVES
from ppgen.user_code import name_in_file

__all__ = ["label_of", "listed", "reader_of"]


def listed(value: Any) -> Any:
    """A text of objectives with commas between them, in brackets or not, as a list of names and of dicts of ``name``
    and ``options``; what is no text as it is.

    >>> listed("[minimax(unroll=1), hinge]")
    [{'name': 'minimax', 'options': {'unroll': 1}}, 'hinge']
    """
    if not isinstance(value, str):
        return value
    calls = parse_calls(value.strip().removeprefix("[").removesuffix("]"))
    return [{"name": name, "options": options} if options else name for name, options in calls]


def reader_of(kind: type[Objective], what: str) -> Callable[[Any], Any]:
    """What reads an objective of a kind, called ``what`` in messages: an instance and a name stay as they are, a dict
    of ``name`` and ``options`` makes one, and so does a name with options in parentheses. The reader raises ValueError
    for the name of another kind.

    >>> from ppgen.inference import ELBO
    >>> reader_of(ELBO, "bound")({"name": "elbo", "options": {"num_particles": 3}})
    ELBO(num_particles=3)
    >>> reader_of(ELBO, "bound")("elbo(num_particles=3)")
    ELBO(num_particles=3)
    """

    def named(name: Any) -> str:
        if not issubclass(OBJECTIVES[name].cls, kind):  # type: ignore[arg-type]  # objectives are classes
            raise ValueError(f"no {what}")
        return str(name)

    def read(value: Any) -> Any:
        if isinstance(value, str) and "(" in value and len(calls := listed(value)) == 1:
            (value,) = calls
        if isinstance(value, Mapping) and value.keys() == {"name", "options"} and isinstance(value["options"], Mapping):
            cls = OBJECTIVES[named(value["name"])].cls
            check_names(f"the {what} {shown(value['name'])}", cls, value["options"])
            return cls(**value["options"])
        return named(value) if isinstance(value, str) else value

    return read


def label_of(objective: Objective) -> str:
    """The registered name, or the class's, with the options that are not the defaults.

    >>> from ppgen.inference import IWELBO
    >>> label_of(IWELBO(num_particles=8))
    'iwelbo(num_particles=8)'
    """
    cls = type(objective)
    name = next((name for name, spec in OBJECTIVES.items() if spec.cls is cls), None) or name_in_file(cls)
    given = [
        f"{field.name}={_written(getattr(objective, field.name))}"
        for field in fields(objective)  # type: ignore[arg-type]  # objectives are dataclasses
        if getattr(objective, field.name) != field.default
    ]
    name = name or cls.__name__
    return f"{name}({', '.join(given)})" if given else name


def _written(value: Any) -> str:
    return label_of(value) if isinstance(value, Objective) else repr(value)
