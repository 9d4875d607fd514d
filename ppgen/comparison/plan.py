"""A comparison as its ``config.json`` holds it: everything that makes it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge

from ppgen.arguments import Positive, check_fields
from ppgen.comparison.core import compare
from ppgen.comparison.curves import Curves, train_each
from ppgen.comparison.labels import named
from ppgen.comparison.listing import Listed
from ppgen.comparison.options import ComparisonOptions
from ppgen.comparison.result import Comparison
from ppgen.data import Dataset
from ppgen.errors import UsageError, is_file, shown
from ppgen.factory import make_pair
from ppgen.files.documents import Document, read_document
from ppgen.machine.devices import choose_device
from ppgen.machine.workers import Engine
from ppgen.pairs.pair import Pair
from ppgen.registry import DATA, MODELS
from ppgen.runs.job import named_data
from ppgen.training.options import TrainingOptions
from ppgen.user_code import execute_files, is_named
from ppgen.versions import versions

__all__ = ["Plan"]

_KIND = "comparison"
_MEND = "restore it, or say anew what to compare"


class _File(Document):
    """What :meth:`Plan.config` gives; :class:`Plan` checks the rest."""

    kind: Literal["comparison"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared, and how.

    Args:
        model: a registered name, or ``file.py:Class``.
        data: as :func:`ppgen.load_data` takes it.
        objectives: to compare.
        model_options: of the pair's constructor.
        data_options: of the data's loader.
        options: of the comparison; its seed is that of the initial parameters too.
        training: to later points of training, and of the curves; counted in steps. Its batch size is that of the batch
            whose gradients are compared: the first so many training data.
        trained_by: the objective that trains to later points; None: the first that ppgen trains with.
        seeds: trainings of each objective for the curves; 0: none.
        minutes: of each training for the curves; None: the steps of ``training``.
        device: ``auto``, ``cpu``, ``cuda``.
        sha256: of the data that an earlier comparison saw; others are refused.
    """

    model: str
    data: str
    objectives: tuple[Listed, ...]
    model_options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    options: ComparisonOptions = field(default_factory=ComparisonOptions)
    training: TrainingOptions = field(default_factory=lambda: TrainingOptions(steps=1000))
    trained_by: Listed | None = None
    seeds: Annotated[int, Ge(0)] = 0
    minutes: Positive | None = None
    device: str = "auto"
    sha256: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def read(cls, file: str | Path, *, model: str | None = None, data: str | None = None) -> Plan:
        """The plan that a ``config.json`` holds.

        Args:
            file: the ``config.json``.
            model: ``file.py:Class`` again, for a plan whose model is not a registered one: a Python file is run only if
                it is named here.
            data: where the data are now, for a plan whose data have no registered name; the same holds for
                ``file.py:function``.

        Raises:
            UsageError: it is missing, cut or edited, or is not a comparison's; its model or its data are in a Python
                file that is not named here; its model or its data are registered and are named here.
        """
        path = Path(file)
        if not is_file(path):
            raise UsageError(f"expected the config.json of a comparison, got {shown(str(path))}, which is no file.")
        try:
            plan = cls._from(read_document(path, _File, "fetch it again").model_dump())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            said = str(error).removeprefix(f"{path} ").partition("; it was edited")[0]
            what = said if isinstance(error, UsageError) else shown(error)
            raise UsageError(f"{path} is not what a comparison writes ({what.rstrip('.')}): {_MEND}.") from error
        if model is None and plan.model not in MODELS:
            raise UsageError(
                f"{path} names the model {shown(plan.model)}, and a Python file is run only if you name it yourself: "
                "give it before --repeat, as in ppgen compare path/to/file.py:Class --repeat CONFIG.json."
            )
        for what, given, own in (("model", model, plan.model in MODELS), ("data", data, plan.data in DATA)):
            if given is not None and own:
                raise UsageError(
                    f"--repeat takes all of the comparison from its file, and {what} was given too: leave it out."
                )
        plan = replace(plan, model=model or plan.model, data=data or plan.data)
        if not is_named(plan.data, model, data):
            raise UsageError(
                f"{path} names the data {shown(plan.data)}, and a Python file is executed only if you name it "
                f"yourself: add --data {plan.data}."
            )
        return plan

    @classmethod
    def _from(cls, config: Mapping[str, Any]) -> Plan:
        trained_by = config["trained_by"]
        return cls(
            model=config["model"]["name"],
            data=config["data"]["name"],
            objectives=tuple(Listed(**one) for one in config["objectives"]),
            model_options=config["model"]["options"],
            data_options=config["data"]["options"],
            options=ComparisonOptions(**config["comparison"]),
            training=TrainingOptions(**config["training"]),
            trained_by=None if trained_by is None else Listed(**trained_by),
            seeds=config["seeds"],
            minutes=config["minutes"],
            device=config["device"],
            sha256=config["data"]["sha256"],
        )

    def config(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        return {
            "format": 1,
            "kind": _KIND,
            "model": {"name": self.model, "options": dict(self.model_options)},
            "data": {"name": self.data, "options": dict(self.data_options), "sha256": self.dataset.sha256},
            "objectives": [one.config() for one in self.objectives],
            "comparison": {one.name: getattr(self.options, one.name) for one in fields(self.options)},
            "training": self.training.to_json(),
            "trained_by": None if self.trained_by is None else self.trained_by.config(),
            "seeds": self.seeds,
            "minutes": self.minutes,
            "device": self.device,
            "versions": versions(),
        }

    @cached_property
    def made(self) -> dict[str, Any]:
        """The objectives by label.

        Raises:
            UsageError: one is listed twice, a name or an option is unknown, a value is refused.
        """
        execute_files(self.model, self.data)
        return named([one.make() for one in self.objectives])

    @cached_property
    def dataset(self) -> Dataset:
        """The data, on the device."""
        torch.manual_seed(self.options.seed)
        found = named_data(self.data, self.data_options, self.model, self.model_options)
        if self.sha256 not in (None, found.sha256):
            raise UsageError(
                f"data {shown(self.data)} are not those of the comparison that is to be repeated: their SHA-256 is "
                f"{found.sha256[:12]}..., expected {str(self.sha256)[:12]}...; restore them, or compare anew."
            )
        return found.to(choose_device(self.device))

    def pair(self, seed: int) -> Pair:
        """A fresh pair, on the data's device, with the initial parameters of a seed."""
        torch.manual_seed(seed)
        made = make_pair(self.model, self.dataset.spec, **self.model_options)
        return made.to(self.dataset.train[0].device)

    def compare(self, *, progress: bool = False) -> Comparison:
        """Estimators at the points of training that were asked for; see :func:`ppgen.compare`."""
        data, made, seed = self.dataset, self.made, self.options.seed
        pair = self.pair(seed)
        batch = data.draw(data.rows("train", slice(self.training.batch_size)))
        later = any(point not in ("init", 0) for point in self.options.at)
        return compare(
            pair,
            batch,
            made,
            data=data,
            trained_by=None if self.trained_by is None else self.trained_by.make(),
            training=replace(self.training, seed=seed) if later else None,
            comparison=self.options,
            progress=progress,
        )

    def train(self, *, progress: bool = False, engine: Engine | None = None) -> tuple[Curves, ...]:
        """Trainings by each objective; see :func:`ppgen.comparison.curves.train_each`. None where ``seeds`` is 0."""
        if self.seeds == 0:
            return ()
        training = replace(self.training, seed=self.options.seed)
        return train_each(
            self.pair,
            self.dataset,
            self.made,
            training,
            seeds=self.seeds,
            seconds=None if self.minutes is None else 60 * self.minutes,
            device=self.device,
            progress=progress,
            engine=engine,
        )
