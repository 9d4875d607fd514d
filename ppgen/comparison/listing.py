"""Objectives of a comparison, listed as text (:mod:`ppgen.calls`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppgen.arguments import as_typed, check_fields, check_names, one_of, options_of
from ppgen.calls import parse_calls
from ppgen.errors import UsageError, shown
from ppgen.factory import make_objective, objective_class, objective_config
from ppgen.objectives.objective import Objective
from ppgen.objectives.pyros import PYRO

__all__ = ["Listed", "at_particles", "parse_objectives", "with_options"]


@dataclass(frozen=True)
class Listed:
    """One objective by name with its options; a nested objective among these is a dict of ``name`` and ``options``."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "a listed objective")

    def make(self) -> Any:
        """The objective.

        Raises:
            UsageError: the name is unknown, an option is unknown or has a value that is refused.
        """
        made_by = self._class()
        check_names(shown(self.name), made_by, self.options)
        options = as_typed(made_by, self.options)
        if not self.name.startswith(PYRO):
            return make_objective(self.name, **options)
        try:
            return made_by(**options)
        except Exception as error:  # whatever a class of Pyro's does with values that it does not check
            raise UsageError(f"{self.name} cannot be made with {shown(options)}: {shown(str(error))}.") from error

    def config(self) -> dict[str, Any]:
        """What makes it again, with the defaults written out: the arguments of this class."""
        made = self.make()
        return objective_config(made) if isinstance(made, Objective) else {"name": self.name, "options": self.options}

    def accepts(self) -> list[str]:
        """The names of its options."""
        return list(options_of(self._class()))

    def holding(self, options: Mapping[str, Any]) -> Listed:
        """With more options, as far as it has them; those that it was given stay."""
        fit = {key: value for key, value in options.items() if key in self.accepts()}
        return Listed(self.name, {**fit, **self.options})

    def _class(self) -> Callable[..., Any]:
        return objective_class(self.name)


def parse_objectives(text: str) -> tuple[Listed, ...]:
    """The objectives of a list such as ``"vimco(num_particles=5), reinforce"``.

    Raises:
        UsageError: it cannot be read.

    >>> [one.name for one in parse_objectives("vimco(num_particles=5), reinforce(bound=iwelbo)")]
    ['vimco', 'reinforce']
    """
    return tuple(Listed(name, options) for name, options in parse_calls(text))


def with_options(listed: Iterable[Listed], options: Mapping[str, Any]) -> tuple[Listed, ...]:
    """The objectives with options that hold for all that have them; what one was given itself stays.

    Raises:
        UsageError: no objective has such an option.
    """
    listed = tuple(listed)
    known = {key for one in listed for key in one.accepts()}
    for key in options:
        one_of("none of the objectives has an option", key, known)
    return tuple(one.holding(options) for one in listed)


def at_particles(listed: Iterable[Listed], numbers: Sequence[int]) -> tuple[Listed, ...]:
    """Each objective once for every number K of particles; one that was given its own, or takes none, stays single.

    An objective that needs more particles than the smallest K begins at the first K that is enough.
    """
    found: list[Listed] = []
    for one in listed:
        if "num_particles" in one.options or "num_particles" not in one.accepts():
            found.append(one)
            continue
        least = getattr(one.make(), "min_particles", 1)
        fit = [number for number in numbers if number >= least] or numbers  # none: the last word is the objective's
        found += [one.holding({"num_particles": number}) for number in fit]
    return tuple(found)
