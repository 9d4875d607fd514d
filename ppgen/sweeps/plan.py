"""What a sweep trains: the runs of a grid and its seeds, checked before the first one begins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any

from annotated_types import Ge

from ppgen.arguments import Count, check_fields, check_names, one_of, options_of
from ppgen.comparison.listing import Listed, parse_objectives
from ppgen.data import Dataset, named_loader
from ppgen.errors import UsageError, shown
from ppgen.evaluation.case import num_data_within
from ppgen.factory import model_class, objective_config, takes_labels
from ppgen.files.jsonable import plain
from ppgen.machine.devices import choose_device
from ppgen.pairs.looking import seeded
from ppgen.registry import OBJECTIVES
from ppgen.runs.job import Job, named_data, named_pair
from ppgen.sweeps.grid import OBJECTIVE, cells_of, label_of
from ppgen.training.options import TrainingOptions
from ppgen.user_code import execute_files

__all__ = ["SweepPlan", "judged_split"]

_TRAINING = tuple(one.name for one in fields(TrainingOptions) if one.name != "seed")
_PARTS = {"M": "model_options", "O": "objective_options", "D": "data_options"}


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What is trained, and how it is judged.

    Args:
        model: a registered name, or ``file.py:Class``.
        data: as :func:`ppgen.load_data` takes it.
        objective: a registered name; None: the grid has several.
        model_options: of the pair's constructor, for all runs.
        data_options: of the data's loader, for all runs.
        objective_options: for all runs.
        training: options of :class:`ppgen.training.options.TrainingOptions`, for all runs.
        grid: the values of each option that is to take several (:mod:`ppgen.sweeps.grid`).
        seeds: runs of each cell of the grid.
        seed: the first of the seeds.
        split: the data whose log p(x) judges; None: validation data, or where none are held out, what evaluation takes.
        particles: K of the bound on log p(x).
        num_data: only the first so many data of the split; None: all.
        device: ``auto``, ``cpu``, ``cuda``.
    """

    model: str
    data: str
    objective: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    objective_options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    seeds: Count = 3
    seed: Annotated[int, Ge(0)] = 0
    split: str | None = None
    particles: Count = 1000
    num_data: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        check_fields(self)

    @cached_property
    def cells(self) -> tuple[dict[str, Any], ...]:
        """The cells of the grid: an option's value each."""
        return tuple(cells_of(self.grid))

    @property
    def all_seeds(self) -> range:
        """The seeds of each cell."""
        return range(self.seed, self.seed + self.seeds)

    def job(self, cell: Mapping[str, Any], seed: int) -> Job:
        """The training of a cell and a seed.

        Raises:
            UsageError: a name or an option is unknown, a value is refused.
        """
        parts: dict[str, Any] = {name: dict(getattr(self, name)) for name in (*_PARTS.values(), "training")}
        objective = str(self.objective)
        for key, value in cell.items():
            letter, _, name = key.rpartition(".")
            if key == OBJECTIVE:
                listed = _listed(value)
                objective = listed.name
                parts["objective_options"] |= listed.options
            else:
                parts[_PARTS[letter] if letter else "training"][name] = value
        training = {**parts.pop("training"), "seed": seed}
        return Job(
            model=self.model, data=self.data, objective=objective, training=training, device=self.device, **parts
        )

    def check(self) -> dict[str, Any]:
        """What ``sweep.json`` says of the plan, once all is known to be in order; nothing is trained or written.

        Raises:
            UsageError: an option is unknown, is given twice or has a value that is refused; two cells are the same; a
                split, a device, a data set that is not there.
        """
        self._check_grid()
        jobs = [self.job(cell, self.seed) for cell in self.cells]
        self._check_different(jobs)
        choose_device(self.device)
        return {**self.config(), "sha256": self._hashes(jobs)}

    def config(self) -> dict[str, Any]:
        """The plan in JSON's terms; the device does not belong to it."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "device"}
        found: dict[str, Any] = json.loads(json.dumps(plain(own), default=str))
        return found

    def _check_grid(self) -> None:
        execute_files(self.model, self.data)
        if self.seeds == 1 and not self.grid:
            raise UsageError("a sweep of a single run is `ppgen train`: give --grid OPTION=VALUE,VALUE or --seeds.")
        check_names("training", TrainingOptions, self.training)
        for key, values in self.grid.items():
            self._check_key(key)
            if not values:
                raise UsageError(f"--grid {shown(key)} has no values: write for example --grid lr=1e-3,3e-3.")
            twice = [value for index, value in enumerate(values) if value in values[:index]]
            if twice:
                raise UsageError(f"--grid {shown(key)} has the value {shown(twice[0])} twice: give each once.")
        if self.objective is None and OBJECTIVE not in self.grid:
            raise UsageError("a sweep needs an objective: write --objective elbo, or --grid objective=elbo,iwelbo.")
        if {"steps", "epochs"} <= {*self.training, *self.grid}:
            raise UsageError("steps and epochs both set the length of training: give one of them.")

    def _check_key(self, key: str) -> None:
        """An option that there is, and that is not set for all runs."""
        one_of("--grid knows no option", key, self._known)
        letter, _, name = key.rpartition(".")
        given = getattr(self, _PARTS[letter]) if letter else self.training
        if name in given or (key == OBJECTIVE and self.objective is not None):
            raise UsageError(f"{key} is set twice, by --grid and for all runs: give one of them.")

    @cached_property
    def _known(self) -> list[str]:
        """All that a grid can be over; of several objectives, what each of them has."""
        texts = self.grid.get(OBJECTIVE, () if self.objective is None else (self.objective,))
        classes = [OBJECTIVES[_listed(text).name].cls for text in texts]
        of_objectives = [set(options_of(cls)) for cls in classes] or [set()]
        of_parts = {
            "M": options_of(model_class(self.model)),
            "O": set.intersection(*of_objectives),
            "D": named_loader(self.data)[0].options,
        }
        return [*_TRAINING, OBJECTIVE, *(f"{letter}.{name}" for letter, names in of_parts.items() for name in names)]

    def _check_different(self, jobs: Sequence[Job]) -> None:
        """No two cells are the same training in other words."""
        seen: dict[str, Mapping[str, Any]] = {}
        for cell, job in zip(self.cells, jobs, strict=True):
            objective, training = objective_config(job.made_objective()), job.options.to_json()
            said = _said([training, objective, job.model_options, job.data_options])
            if said in seen:
                raise UsageError(
                    f"{label_of(seen[said])} and {label_of(cell)} are the same training: take one of them away."
                )
            seen[said] = cell

    def _hashes(self, jobs: Sequence[Job]) -> list[str]:
        """The SHA-256 of the data sets, which can be read; so can every pair be made, and every split be judged by."""
        loaded: dict[str, Dataset] = {}
        made: set[str] = set()
        with seeded(self.seed):
            for job in jobs:
                labels = takes_labels(self.model, job.model_options)
                options, pair = _said([job.data_options, labels]), _said([job.data_options, job.model_options])
                if options not in loaded:
                    loaded[options] = named_data(self.data, job.data_options, self.model, job.model_options)
                    self._check_split(loaded[options])
                if pair not in made:
                    named_pair(self.model, job.model_options, loaded[options])
                    made.add(pair)
        return sorted({data.sha256 for data in loaded.values()})

    def _check_split(self, data: Dataset) -> None:
        split = judged_split(data, self.split)
        size = len(data.split(split)[0])
        num_data_within(size, split, size if self.num_data is None else self.num_data)


def judged_split(data: Dataset, asked: str | None) -> str:
    """The split that was asked for; if none was, validation data, or where none are held out, the last split."""
    return asked or ("valid" if data.valid else data.last_split)


def _listed(text: Any) -> Listed:
    listed = parse_objectives(str(text))
    if len(listed) != 1:
        raise UsageError(f"expected the name of an objective, got {shown(text)}.")
    return listed[0]


def _said(value: Any) -> str:
    """The same text for the same options."""
    return json.dumps(value, sort_keys=True, default=str)
