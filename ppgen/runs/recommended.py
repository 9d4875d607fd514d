"""What a pair is trained with where no objective is named: what its registration recommends for such data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppgen.arguments import as_typed
from ppgen.calls import called
from ppgen.data import Dataset
from ppgen.errors import UsageError
from ppgen.factory import make_objective, objective_class
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.registry import MODELS
from ppgen.training.options import TrainingOptions, over

__all__ = ["recommended"]


def recommended(
    pair: Pair, data: Dataset, options: Mapping[str, Any], training: Mapping[str, Any]
) -> tuple[Objective, TrainingOptions, str]:
    """The objective and the options of training that are recommended for ``pair`` on such data.

    Args:
        pair: of a registered class.
        data: to train on.
        options: of the objective, in the place of recommended ones.
        training: options of training, likewise.

    Returns:
        The objective, the options, and in a sentence what was taken of the recommendation.

    Raises:
        UsageError: nothing is recommended for such a pair, or an option or a value is refused.
    """
    kind, spec = data.spec.observation, next((one for one in MODELS.values() if one.cls is type(pair)), None)
    found = None if spec is None else spec.recommended_for(kind)
    if spec is None or found is None:
        raise UsageError(
            f"no objective is recommended for {type(pair).__name__} on data of the kind {kind}: name one, as in "
            "--objective elbo or ppgen.fit(pair, data, 'elbo'); `ppgen list objectives` has them all."
        )
    settings = over(found.training, training)
    named = as_typed(objective_class(found.objective), {**found.options, **options})
    taken = {**found.options, **{name: value for name, value in settings.items() if name in found.training}}
    own = ", ".join(f"{name}={_spelled(value)}" for name, value in taken.items() if name not in {**options, **training})
    said = f"{spec.name} on {kind} data takes what is recommended for it: {found.objective}, {own}".rstrip(" ,")
    return make_objective(found.objective, **named), TrainingOptions(**as_typed(TrainingOptions, settings)), f"{said}."


def _spelled(value: Any) -> str:
    """A value, and an objective or a list of them as it is written on the command line."""
    if isinstance(value, Mapping) and "options" in value:
        return called(value["name"], value["options"])
    if isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
        return ", ".join(map(_spelled, value))
    return str(value)
