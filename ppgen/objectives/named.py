"""Hyper-parameters that are objectives themselves: by instance, as text, or as ``config.json`` has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppgen.arguments import check_names
from ppgen.calls import parse_calls
from ppgen.errors import shown
from ppgen.objectives.objective import Objective
from ppgen.registry import OBJECTIVES

__all__ = ["listed", "reader_of"]


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
