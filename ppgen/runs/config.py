"""``config.json``: what rebuilds a run, read and checked."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field, PositiveInt, TypeAdapter, model_validator

from ppgen.arguments import options_of
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError, spelled
from ppgen.factory import objective_config, pair_config
from ppgen.files.documents import FORMAT, Document, read_document
from ppgen.files.repository import repository_of
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.registry import OBJECTIVES
from ppgen.training.options import TrainingOptions
from ppgen.versions import versions

__all__ = ["CONFIG", "chosen", "describe", "read_config"]

CONFIG = "config.json"


class _Named(Document):
    name: str | None = None
    options: dict[str, Any]


class _Data(Document):
    name: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    sha256: str


class _Spec(Document):
    """What :meth:`DataSpec.to_json` gives."""

    name: str
    num_features: int
    observation: str
    image_shape: list[PositiveInt] | None = None
    shape: list[PositiveInt] | None = None

    @model_validator(mode="after")
    def _check(self) -> _Spec:
        DataSpec.from_json(self.model_dump(exclude_unset=True))
        return self


def _check_training(options: dict[str, Any]) -> dict[str, Any]:
    TypeAdapter(TrainingOptions).validate_json(json.dumps(options), strict=True)
    return options


class _Repository(Document):
    """The user's own code: what :func:`ppgen.files.repository.repository_of` gives."""

    commit: str
    dirty: bool


class _Config(Document):
    """What :func:`ppgen.runs.config.describe` gives."""

    model: _Named
    spec: _Spec
    data: _Data
    objective: _Named
    training: Annotated[dict[str, Any], AfterValidator(_check_training)]
    device: str
    versions: dict[str, str]
    git: _Repository | None = None


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of the run in ``folder``.

    Raises:
        UsageError: there is no run, or its config is not what training writes.
    """
    file = folder / CONFIG
    if not file.is_file():
        place = spelled("the --out of a `ppgen train`", "the out= of a ppgen.fit")
        raise UsageError(f"expected a run at {folder}, found no {CONFIG} in it: name {place}.")
    return read_document(file, _Config, "restore it, or train again").model_dump(exclude_unset=True)


def chosen(options: Mapping[str, Any], made_by: Callable[..., Any]) -> dict[str, Any]:
    """Those of an objective's options, as ``config.json`` has them, that are not its defaults; of the objectives among
    them likewise."""
    defaults = json.loads(json.dumps(options_of(made_by), default=str))
    kept = {name: value for name, value in options.items() if name not in defaults or value != defaults[name]}
    return {name: _chosen(value) for name, value in kept.items()}


def _chosen(value: Any) -> Any:
    if isinstance(value, list):
        return [_chosen(one) for one in value]
    if not isinstance(value, dict) or value.get("name") not in OBJECTIVES:
        return value
    return {**value, "options": chosen(value["options"], OBJECTIVES[value["name"]].cls)}


def describe(
    pair: Pair, data: Dataset, objective: Objective, options: TrainingOptions, *, written: bool = True
) -> dict[str, Any]:
    """``config.json`` of a run; of one that is not ``written``, git is not asked."""
    device = data.train[0].device
    return {
        "format": FORMAT,
        "model": pair_config(pair),
        "spec": data.spec.to_json(),
        "data": {**data.config, **data.found, "sha256": data.sha256},
        "objective": objective_config(objective),
        "training": options.to_json(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "versions": versions(),
        "git": repository_of(Path()) if written else None,
    }
