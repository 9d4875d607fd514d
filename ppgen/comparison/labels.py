"""What objectives and their bounds are called in a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ppgen.comparison.listing import parse_objectives
from ppgen.errors import UsageError
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.named import label_of as named_label
from ppgen.objectives.objective import Objective

__all__ = ["bound_name", "comparable", "label_of", "named"]


def named(objectives: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """The objectives by label; text is read as on the command line (:mod:`ppgen.comparison.listing`).

    Raises:
        UsageError: there are none, one is listed twice, text cannot be read, a name is unknown.
    """
    if isinstance(objectives, Mapping):
        found = [(str(label), one) for label, given in objectives.items() for one in _made(given)]
    else:
        listed = [objectives] if isinstance(objectives, str) else objectives
        found = [(label_of(one), one) for given in listed for one in _made(given)]
    if not found:
        raise UsageError("expected objectives to compare, got none: name at least one.")
    labels = [label for label, _ in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UsageError(
            f"objective {twice} is listed twice: name each once, or give a mapping with labels of its own."
        )
    return dict(found)


def label_of(objective: Any) -> str:
    """The registered name, or the class's, with the options that are not the defaults.

    >>> from ppgen.inference import IWELBO
    >>> label_of(IWELBO(num_particles=8))
    'iwelbo(num_particles=8)'
    """
    if not isinstance(objective, Objective):
        return f"{type(objective).__name__}(num_particles={getattr(objective, 'num_particles', 1)})"
    return named_label(objective)


def comparable(bound: Reduction) -> Reduction:
    """The bound as its expectation knows it: a mean of log-weights has the same at any number of particles."""
    return bound.holding({"num_particles": 1}) if bound.is_mean else bound  # type: ignore[return-value]


def bound_name(bound: Reduction | None) -> str | None:
    """What a bound is called, the same for all whose expectations are the same; None for None."""
    return None if bound is None else label_of(comparable(bound))


def _made(given: Any) -> list[Any]:
    return [one.make() for one in parse_objectives(given)] if isinstance(given, str) else [given]
