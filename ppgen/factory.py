"""Pairs and objectives by name: registered ones, and those of the user's own file (``path/to/file.py:Class``)."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from ppgen.arguments import check_names, checked, one_of
from ppgen.data import DataSpec
from ppgen.errors import UsageError, cut, is_file, shown, within_memory
from ppgen.objectives.objective import Objective
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.pair import Pair
from ppgen.registry import MODELS, OBJECTIVES

__all__ = ["label_option", "make_objective", "make_pair", "model_class", "objective_config", "pair_config"]


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


def label_option(name: str) -> dict[str, bool]:
    """The option that loads labels, where the model takes batches (x, y): its ``model`` has a second argument."""
    model = getattr(model_class(name), "model", None)
    wanted = model is not None and len(inspect.signature(model).parameters) > 2  # self, x, y
    return {"labels": True} if wanted else {}


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


def pair_config(pair: Pair) -> dict[str, Any]:
    """``{"name", "options"}`` from which :func:`make_pair` makes the pair again.

    There is no name where an option is what JSON cannot hold, as the class of a network: it is there to be read.
    """
    made = pair.origin
    if made is None:
        name = next((n for n, spec in MODELS.items() if spec.cls is type(pair)), None)
        options = {key: value for key, value in pair.arguments.items() if not isinstance(value, DataSpec)}
        made = {"name": name, "class": type(pair).__qualname__, "options": options}
    try:
        json.dumps(made["options"])
    except TypeError:
        read = {} if made["name"] is None else {key: _plain(value) for key, value in made["options"].items()}
        return {"name": None, "class": type(pair).__qualname__, "options": read}
    return made


def _plain(value: Any) -> Any:
    """For a document: what makes an objective again; in words what it cannot hold, the same in every process."""
    if isinstance(value, Objective):
        return objective_config(value)
    try:
        json.dumps(value)
    except TypeError:
        return cut(re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(value).split())), 1000)
    return value


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
    if not hasattr(module, attribute):
        one_of(
            f"{path} has no class", attribute, [key for key, value in vars(module).items() if inspect.isclass(value)]
        )
    cls: Callable[..., Any] = getattr(module, attribute)
    return cls
