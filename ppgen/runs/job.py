"""A training by names: what ``ppgen train`` is told, and all that another process needs to do the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ppgen.arguments import as_typed, check_fields, check_names
from ppgen.data import Dataset, load_data, named_loader
from ppgen.errors import UsageError, shown
from ppgen.factory import make_objective, make_pair, model_class, objective_class, takes_labels
from ppgen.machine.devices import choose_device
from ppgen.machine.progress import say
from ppgen.machine.ranks import joined
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.registry import DATA
from ppgen.runs.directory import claimed_run
from ppgen.runs.fit import fit_in
from ppgen.runs.recommended import recommended
from ppgen.runs.run import Run
from ppgen.training.callbacks import Callback
from ppgen.training.options import TrainingOptions
from ppgen.user_code import execute_files

__all__ = ["Job", "named_data", "named_pair"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training.

    Args:
        model: a registered name, or ``file.py:Class``.
        data: as :func:`ppgen.load_data` takes it: a registered name, a file, a folder, ``file.py:function``.
        objective: as :func:`ppgen.make_objective` takes it: a registered name, ``pyro.Trace_ELBO``, ``file.py:Class``;
            None: what is recommended for the model on such data.
        model_options: of the pair's constructor, as all options from a shell, where a word may stand for True or False.
        data_options: of the data's loader.
        objective_options: of the objective.
        training: those options of :class:`ppgen.training.options.TrainingOptions` that are given; others are as they
            are recommended, where the objective is, or their defaults. The seed is that of the initial parameters too.
        device: ``auto``, ``cpu``, ``cuda``.
        sha256: of the data, where they are to be the very same.
    """

    model: str
    data: str
    objective: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    objective_options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    sha256: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_names("training", TrainingOptions, self.training)
        _ = self.options  # values are refused before anything is read

    @cached_property
    def options(self) -> TrainingOptions:
        """All options of training, as they are where the objective is named."""
        return TrainingOptions(**as_typed(TrainingOptions, self.training))

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
            objective, options = None if self.objective is None else self.made_objective(), self.options
            torch.manual_seed(options.seed)
            data = named_data(self.data, self.data_options, self.model, self.model_options)
            self._check_same(data)
            pair = named_pair(self.model, self.model_options, data)
            if objective is None:
                objective, options, said = recommended(pair, data, self.objective_options, self.training)
                if progress:
                    say(said)
            asked = self.device != "auto"
            return fit_in(folder, pair, data, objective, options, place, asked, progress, callbacks)

    def _check_same(self, data: Dataset) -> None:
        if self.sha256 not in (None, data.sha256):
            raise UsageError(
                f"data {shown(self.data)} are not those that the file speaks of: their SHA-256 is "
                f"{data.sha256[:12]}..., expected {str(self.sha256)[:12]}...; restore them, or name them on the line "
                "to train on these."
            )

    def made_objective(self) -> Objective:
        """The objective that is named.

        Raises:
            UsageError: its name or an option is unknown, a value is refused.
        """
        execute_files(self.model, self.data)
        name = str(self.objective)
        return make_objective(name, **as_typed(objective_class(name), self.objective_options))


def named_data(data: str, options: Mapping[str, Any], model: str, of_model: Mapping[str, Any]) -> Dataset:
    """A data set by its name; labels are asked for where the model takes them, and left out where it does not.

    Raises:
        UsageError: the data, the model or an option are unknown; files that cannot be read.
    """
    execute_files(model, data)
    spec, wanted = named_loader(data)[0], takes_labels(model, of_model)
    has = "labels" in spec.options or (wanted and spec.name in DATA)
    labels = {"labels": wanted} if has and wanted is not None else {}
    return load_data(data, **labels | as_typed(spec.cls, options))


def named_pair(model: str, options: Mapping[str, Any], data: Dataset) -> Pair:
    """A pair by its name, for a data set.

    Raises:
        UsageError: the name or an option is unknown, a value is refused.
    """
    return make_pair(model, data.spec, **as_typed(model_class(model), options))
