"""Hyper-parameters that are objectives themselves: by instance, by registered name, or as ``config.json`` has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppgen.arguments import check_names
from ppgen.errors import shown
from ppgen.objectives.objective import Objective
from ppgen.objectives.texts import parse_calls
from ppgen.registry import OBJECTIVES

__all__ = ["reader_of"]


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
        if isinstance(value, str) and value.endswith(")"):
            ((name, options),) = parse_calls(value)
            value = {"name": name, "options": options}
        if isinstance(value, Mapping) and value.keys() == {"name", "options"} and isinstance(value["options"], Mapping):
            cls = OBJECTIVES[named(value["name"])].cls
            check_names(f"the {what} {shown(value['name'])}", cls, value["options"])
            return cls(**value["options"])
        return named(value) if isinstance(value, str) else value

    return read
