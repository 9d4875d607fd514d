"""Pairs and objectives by name: registered ones, and those of the user's own file (``path/to/file.py:Class``)."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from ppgen.arguments import check_names, checked
from ppgen.data import DataSpec
from ppgen.errors import UsageError, is_file, nearest, shown, within_memory
from ppgen.objectives.objective import Objective
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.pair import Pair
from ppgen.registry import MODELS, OBJECTIVES

__all__ = ["make_objective", "make_pair", "model_class", "objective_config", "wants_labels"]


def make_pair(name: str, spec: DataSpec, **options: Any) -> Pair:
    """A pair by registered name, or by ``file.py:Class``.

    Args:
        name: a name of ``ppgen list models``, or the path of a Python file, a colon, and the name of a class in it
            whose first argument is the data's spec.
        spec: what one datum is.
        options: further arguments of the class.

    Raises:
        UsageError: an unknown name, file or class; an option that the constructor lacks; a value it refuses.
    """
    cls = model_class(name)
    check_names(shown(name), cls, options, skip=1)
    with within_memory(f"model {shown(name)} with {shown(options)}"):
        try:
            made = checked(cls)(spec, **options)
        except TypeError as error:
            raise UsageError(f"model {shown(name)} cannot be made with {shown(options)}: {error}.") from error
    pair = as_pair(made)
    pair.origin = {"name": name, "options": options}
    return pair


def model_class(name: str) -> Callable[..., Any]:
    """The class behind a model's name."""
    return _class_from_file(name) if ".py:" in str(name) else MODELS[name].cls


def wants_labels(name: str) -> bool:
    """Whether the model takes batches (x, y): its ``model`` has a second argument."""
    model = getattr(model_class(name), "model", None)
    return model is not None and len(inspect.signature(model).parameters) > 2  # self, x, y


def make_objective(name: str, **options: Any) -> Objective:
    """An objective by registered name.

    Raises:
        UsageError: an unknown name, an option that the objective lacks, a value it refuses.
    """
    cls = OBJECTIVES[name].cls
    check_names(shown(name), cls, options)
    objective: Objective = cls(**options)
    return objective


def as_objective(objective: Any) -> Objective:
    """An objective, or that of a registered name.

    Raises:
        UsageError: it is neither.

    >>> as_objective("iwelbo").num_particles
    5
    """
    if isinstance(objective, str):
        return make_objective(objective)
    if not isinstance(objective, Objective):
        what = objective.__name__ if isinstance(objective, type) else type(objective).__name__
        raise UsageError(
            f"expected an objective, such as ppgen.inference.ELBO(), or the name of a registered one, got {what}: "
            "`ppgen list objectives` has them all."
        )
    return objective


def objective_config(objective: Objective) -> dict[str, Any]:
    """``{"name", "options"}`` from which :func:`make_objective` makes the objective again."""
    name = next((n for n, spec in OBJECTIVES.items() if spec.cls is type(objective)), None)
    options = {field.name: getattr(objective, field.name) for field in fields(objective)}  # type: ignore[arg-type]
    return {"name": name, "options": {key: _plain(value) for key, value in options.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Objective):
        return objective_config(value)
    return str(value) if callable(value) else value


def _class_from_file(name: str) -> Callable[..., Any]:
    path, _, attribute = name.rpartition(":")
    file = Path(path)
    if not is_file(file):
        raise UsageError(
            f"expected a Python file, got {shown(path)}, which does not exist: write path/to/file.py:Class."
        )
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"expected a Python file, got {shown(path)}, which cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} cannot be imported ({type(error).__name__}: {error}).") from error
    cls: Callable[..., Any] | None = getattr(module, attribute, None)
    if cls is None:
        classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise UsageError(f"{path} has no class {shown(attribute)}{nearest(attribute, classes)}")
    return cls
