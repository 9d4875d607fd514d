"""Pairs and objectives by name: registered ones, and those of the user's own file (``path/to/file.py:Class``)."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import pyro

from ppgen.arguments import as_typed, check_names, checked, options_of
from ppgen.calls import Call, called, parse_calls
from ppgen.data import DataSpec
from ppgen.errors import UsageError, cut, shown, within_memory
from ppgen.objectives.objective import Objective
from ppgen.objectives.pyros import PYRO, Pyros, elbo_class
from ppgen.objectives.staged import Staged
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.pair import Pair
from ppgen.registry import MODELS, OBJECTIVES
from ppgen.user_code import name_in_file

__all__ = [
    "as_given",
    "as_objective",
    "defaults_of",
    "make_objective",
    "make_pair",
    "model_class",
    "objective_class",
    "objective_config",
    "pair_config",
    "takes_labels",
]


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
    pair.origin = {"name": name, "options": options, "made_by": cls}
    return pair


def model_class(name: str) -> Callable[..., Any]:
    """The class behind a model's name."""
    return MODELS.entry(name).cls


def takes_labels(name: str, options: Mapping[str, Any]) -> bool | None:
    """Whether a model takes batches (x, y): as its option ``labels`` says, or its ``model`` has a second argument.

    Sources are no labels: a class of ``takes_source`` takes none.

    None: it is a function's to say.
    """
    made_by = model_class(name)
    if getattr(made_by, "takes_source", False):
        return False
    if "labels" in options_of(made_by):
        return bool(as_typed(made_by, {"labels": options.get("labels", options_of(made_by)["labels"])})["labels"])
    model = getattr(made_by, "model", None)
    return None if model is None else len(inspect.signature(model).parameters) > 2  # self, x, y


def make_objective(name: str, **options: Any) -> Objective:
    """An objective by registered name, by ``pyro.`` and a class of ``pyro.infer``, or by ``file.py:Class``.

    Several names with commas between them follow one another (:class:`ppgen.objectives.staged.Staged`, whose options
    are ``shares`` and ``rates``); options may stand with a name, ``"iwelbo(num_particles=8)"``.

    Raises:
        UsageError: an unknown name, an option that the objective lacks, a value it refuses.

    >>> make_objective("pyro.Trace_ELBO", num_particles=2).total_particles
    2
    >>> print(make_objective("elbo, iwelbo(num_particles=8)"))
    ELBO(num_particles=1), IWELBO(num_particles=8)
    """
    calls = _calls(name)
    if len(calls) > 1:
        check_names(shown(name), Staged, options)
        return Staged(objectives=tuple(make_objective(one, **own) for one, own in calls), **options)
    ((name, own),) = calls
    options = {**own, **options}
    cls = objective_class(name)
    check_names(shown(name), cls, options)
    try:
        made = cls(**options)
    except UsageError:
        raise
    except Exception as error:  # whatever a class does with values that it does not check
        raise UsageError(f"{name} cannot be made with {shown(options)}: {shown(str(error))}.") from error
    return as_objective(made)


def objective_class(name: str) -> Callable[..., Any]:
    """The class behind an objective's name.

    Raises:
        UsageError: there is none.
    """
    calls = _calls(name)
    if len(calls) > 1:
        return Staged
    ((name, _),) = calls
    return elbo_class(name) if str(name).startswith(PYRO) else OBJECTIVES.entry(name).cls


def _calls(name: Any) -> tuple[Call, ...]:
    """The objectives that a text names; a mere name may be ``file.py:Class``."""
    return parse_calls(name) if isinstance(name, str) and {*",("} & {*name} else ((name, {}),)


def as_objective(objective: Any) -> Objective:
    """An objective, one of Pyro's own (:mod:`ppgen.objectives.pyros`), that of a name, or several in a list.

    Raises:
        UsageError: it is none of these.

    >>> as_objective("iwelbo").num_particles
    5
    """
    if isinstance(objective, str):
        return make_objective(objective)
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, list | tuple):
        return Staged(objectives=tuple(map(as_objective, objective)))
    if isinstance(objective, pyro.infer.ELBO):
        return Pyros(elbo=objective)
    if isinstance(objective, type) and issubclass(objective, pyro.infer.ELBO):
        raise UsageError(
            f"expected an objective, such as ppgen.inference.ELBO(), got the class {objective.__name__}: make "
            f"an instance, {objective.__name__}()."
        )
    raise UsageError(
        "expected an objective, such as ppgen.inference.ELBO(), the name of a registered one, or a pyro.infer.ELBO, "
        f"got {shown(objective)}: `ppgen list objectives` has them all."
    )


def objective_config(objective: Objective) -> dict[str, Any]:
    """``{"name", "options"}`` from which :func:`make_objective` makes the objective again."""
    if isinstance(objective, Pyros):
        return {"name": objective.name, "options": {k: v for k, v in objective.options.items() if _is_plain(v)}}
    if isinstance(objective, Staged):
        names = ", ".join(called(**objective_config(one)) for one in objective.objectives)
        return {"name": names, "options": {"shares": objective.shares, "rates": objective.rates}}
    registered = (n for n, spec in OBJECTIVES.items() if spec.cls is type(objective))
    name = next(registered, None) or name_in_file(type(objective))
    options = {field.name: getattr(objective, field.name) for field in fields(objective)}  # type: ignore[arg-type]
    return {"name": name, "options": {key: _plain(value) for key, value in options.items()}}


def pair_config(pair: Pair) -> dict[str, Any]:
    """``{"name", "options"}`` from which :func:`make_pair` makes the pair again.

    There is no name where an option is what JSON cannot hold, as the class of a network: it is there to be read.
    """
    made = None
    if pair.origin is not None:
        made = {"name": pair.origin["name"], "options": defaults_of(pair) | pair.origin["options"]}
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
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    try:
        json.dumps(value)
    except TypeError:
        return cut(re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(value).split())), 1000)
    return value


def defaults_of(pair: Pair) -> dict[str, Any]:
    """The defaults of the options that a pair was made with, as far as JSON holds them."""
    made_by = type(pair) if pair.origin is None else pair.origin["made_by"]
    return {name: default for name, default in options_of(made_by).items() if _is_plain(default)}


def as_given(cls: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded options as they were: those that are a default in JSON's terms are left to be the default itself.

    >>> as_given(lambda spec, hidden=(4,), scale=1.0: None, {"hidden": [4], "scale": 2.0})
    {'scale': 2.0}
    """
    defaults = {name: json.dumps(value) for name, value in options_of(cls).items() if _is_plain(value)}
    return {name: value for name, value in options.items() if defaults.get(name) != json.dumps(value)}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
