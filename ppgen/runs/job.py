"""A training by names: what ``ppgen train`` is told, and all that another process needs to do the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ppgen.arguments import as_typed, check_fields
from ppgen.data import Dataset, load_data
from ppgen.factory import label_option, make_objective, make_pair, model_class
from ppgen.machine.devices import choose_device
from ppgen.machine.ranks import joined
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.registry import DATA, OBJECTIVES
from ppgen.runs.directory import claimed_run
from ppgen.runs.fit import fit_in
from ppgen.runs.run import Run
from ppgen.training.callbacks import Callback
from ppgen.training.options import TrainingOptions

__all__ = ["Job", "named_data", "named_pair"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training.

    Args:
        model: a registered name, or ``file.py:Class``.
        data: a registered name.
        objective: a registered name.
        model_options: of the pair's constructor, as all options from a shell, where a word may stand for True or False.
        data_options: of the data's loader.
        objective_options: of the objective.
        training: how; its seed is that of the initial parameters too.
        device: ``auto``, ``cpu``, ``cuda``.
    """

    model: str
    data: str
    objective: str
    model_options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    objective_options: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    device: str = "auto"

    def __post_init__(self) -> None:
        check_fields(self)

    def train(
        self,
        out: str | Path | None,
        *,
        resume: bool = False,
        progress: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> Run:
        """The run, written to ``out``; see :func:`ppgen.fit`.

        Raises:
            UsageError: as there; a name or an option is unknown, a value is refused.
        """
        place = choose_device(self.device)
        with claimed_run(out, resume, writes=joined().first) as folder:
            objective = self.made_objective()
            torch.manual_seed(self.training.seed)
            data = named_data(self.data, self.data_options, self.model)
            pair = named_pair(self.model, self.model_options, data)
            asked = self.device != "auto"
            return fit_in(folder, pair, data, objective, self.training, place, asked, progress, callbacks)

    def made_objective(self) -> Objective:
        """The objective.

        Raises:
            UsageError: its name or an option is unknown, a value is refused.
        """
        return make_objective(self.objective, **as_typed(OBJECTIVES[self.objective].cls, self.objective_options))


def named_data(data: str, options: Mapping[str, Any], model: str) -> Dataset:
    """A data set by its name; labels are asked for where the model takes them.

    Raises:
        UsageError: the data, the model or an option are unknown; files that cannot be read.
    """
    labels = label_option(model)
    return load_data(data, **labels | as_typed(DATA[data].cls, options))


def named_pair(model: str, options: Mapping[str, Any], data: Dataset) -> Pair:
    """A pair by its name, for a data set.

    Raises:
        UsageError: the name or an option is unknown, a value is refused.
    """
    return make_pair(model, data.spec, **as_typed(model_class(model), options))
