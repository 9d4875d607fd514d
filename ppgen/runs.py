"""A run: a directory that holds all that a training was and gave.

config.json             all that rebuilds it: model, data, objective, options, versions
metrics.jsonl           one JSON object a line
checkpoint.safetensors  parameters, optimizers, state, random numbers
snapshots.safetensors   samples at a few moments of training (:mod:`ppgen.snapshots`)
evaluation.json         the last evaluation, if there was one
diagnosis.json          the last diagnosis, if there was one
posterior.nc            draws of some data's posterior, for ArviZ (:func:`ppgen.to_inference_data`), from then
"""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor

import ppgen
from ppgen.batches import Interleaved
from ppgen.checkpoint import read_checkpoint
from ppgen.data import Dataset, DataSpec, as_dataset, load_data
from ppgen.diagnostics import Diagnosis, diagnose
from ppgen.documents import FORMAT, read_document
from ppgen.errors import UsageError, is_out_of_memory, shown
from ppgen.evaluation import Evaluation, evaluate
from ppgen.factory import make_objective, make_pair, objective_config
from ppgen.files import claimed, write_whole
from ppgen.inference_data import POSTERIOR, write_posterior
from ppgen.learner import load_learner, state_of
from ppgen.metrics import read_metrics
from ppgen.objective import Objective, State
from ppgen.options import TrainingOptions, choose_device
from ppgen.pair import Pair, as_pair
from ppgen.registry import MODELS
from ppgen.run_config import CONFIG, read_config
from ppgen.snapshots import SNAPSHOTS, Snapshots
from ppgen.tracing import Batch

__all__ = [
    "CHECKPOINT",
    "CONFIG",
    "DIAGNOSIS",
    "EVALUATION",
    "METRICS",
    "Run",
    "claim_directory",
    "claimed_run",
    "describe",
    "load",
    "read_config",
]

METRICS, CHECKPOINT, EVALUATION, DIAGNOSIS = (
    "metrics.jsonl",
    "checkpoint.safetensors",
    "evaluation.json",
    "diagnosis.json",
)

FILES = (CONFIG, METRICS, CHECKPOINT, SNAPSHOTS, EVALUATION, DIAGNOSIS, POSTERIOR)
"""All that training, evaluation and diagnosis write to a run."""


_KEPT = 16
"""Data whose posterior a diagnosis keeps."""


@dataclass
class Run:
    """A trained pair with the data and objective it was trained on, and where that is recorded.

    Attributes:
        pair: with its trained parameters.
        data: what it was trained on.
        objective: what it was trained with.
        config: what ``config.json`` holds.
        metrics: what ``metrics.jsonl`` holds: training reports and validation bounds, per datum, in nats.
        directory: None for a run that was not written.
        state: what the last step handed on.
    """

    pair: Pair
    data: Dataset
    objective: Objective
    config: Mapping[str, Any]
    metrics: list[dict[str, Any]]
    directory: Path | None = None
    state: State = field(default_factory=dict)

    @property
    def chains(self) -> Tensor | None:
        """Where the objective's persistent chains stand, (num, D); None: it keeps none."""
        return self.objective.chains(self.state) if self.state else None

    def evaluate(
        self, split: str | None = None, particles: int = 1000, *, write: bool = True, **options: Any
    ) -> Evaluation:
        """Test log-likelihood in nats with its standard error; see :func:`ppgen.evaluation.evaluate`.

        Args:
            split: which data.
            particles: K of the bound.
            write: whether to :meth:`keep` it in the run's directory.
            options: those of :func:`ppgen.evaluation.evaluate`.
        """
        result = evaluate(self.pair, self.data, split=split, particles=particles, **options)
        if write:
            self.keep(result)
        return result

    def keep(self, found: Evaluation | Diagnosis, out: str | Path | None = None) -> None:
        """Write an evaluation or a diagnosis of this run to ``out``, or to its own directory if it has one.

        Raises:
            UsageError: it cannot be written; the numbers are a note of the error, so that they are not lost.
        """
        folder = self.directory if out is None else Path(out)
        if folder is None:
            return
        document = json.dumps(found.to_json(), indent=2)
        try:
            if isinstance(found, Evaluation):
                write_whole(folder / EVALUATION, document.encode())
                self.__dict__.pop("evaluation", None)
            else:
                write_whole(folder / DIAGNOSIS, document.encode())
                self.__dict__.pop("diagnosis", None)
                self._keep_posterior(folder / POSTERIOR, found)
        except UsageError as error:
            error.add_note(document)
            raise

    @cached_property
    def evaluation(self) -> dict[str, Any] | None:
        """What the last evaluation gave, or None; read once, and again after :meth:`evaluate`.

        Raises:
            UsageError: ``evaluation.json`` is not what an evaluation writes.
        """
        file = None if self.directory is None else self.directory / EVALUATION
        if file is None or not file.is_file():
            return None
        return read_document(file, Evaluation, "evaluate again").to_json()

    def diagnose(self, out: str | Path | None = None, *, write: bool = True, **options: Any) -> Diagnosis:
        """Is the guide to be believed? See :func:`ppgen.diagnose`; ``diagnosis.json`` in ``out`` keeps the answer.

        ``posterior.nc`` beside it holds draws at the first 16 of the data (:func:`ppgen.to_inference_data`), and the
        findings' numbers as attributes, ``diagnosis_importance`` and the like; a pair that breaks down there has none,
        and a warning says so.

        Args:
            out: a directory; None: the run's own, if it has one.
            write: whether to :meth:`keep` it there.
            options: those of :func:`ppgen.diagnose`.

        Raises:
            UsageError: as :func:`ppgen.diagnose`, or ``out`` cannot be written.
        """
        folder = None if out is None else writable_directory(out)
        result = diagnose(self.pair, self.data, chains=self.chains, **options)
        if write:
            self.keep(result, folder)
        return result

    def _keep_posterior(self, file: Path, result: Diagnosis) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(result.seed)
            batch = self.data.draw(self.data.rows(result.split, slice(min(_KEPT, result.num_data))))
        numbers = {f"diagnosis_{one.question}": one.number for one in result.findings if one.number is not None}
        try:
            write_posterior(self.pair, batch, file, attrs=numbers, seed=result.seed)
        except UsageError:
            raise
        except (RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            file.unlink(missing_ok=True)
            warnings.warn(f"{file.name} is left out, for the pair cannot be drawn from there: {error}", stacklevel=3)

    @cached_property
    def diagnosis(self) -> Diagnosis | None:
        """What the last diagnosis found, or None; read once, and again after :meth:`diagnose`.

        Raises:
            UsageError: ``diagnosis.json`` is not what a diagnosis writes.
        """
        file = None if self.directory is None else self.directory / DIAGNOSIS
        return read_document(file, Diagnosis, "diagnose again") if file is not None and file.is_file() else None

    @property
    def snapshots(self) -> Snapshots | None:
        """Samples at a few moments of training, or None for a run that was not written."""
        return None if self.directory is None else Snapshots.read(self.directory)


def describe(pair: Pair, data: Dataset, objective: Objective, options: TrainingOptions) -> dict[str, Any]:
    """``config.json`` of a run."""
    device = data.train[0].device
    return {
        "format": FORMAT,
        "model": _model_config(pair),
        "spec": data.spec.to_json(),
        "data": {**data.config, "sha256": data.sha256},
        "objective": objective_config(objective),
        "training": dict(vars(options)),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "versions": {
            "ppgen": ppgen.__version__,
            "torch": torch.__version__,
            "pyro": pyro.__version__,
            "python": platform.python_version(),
        },
    }


def load(
    directory: str | Path,
    *,
    pair: Pair | str | None = None,
    data: Any = None,
    device: str = "auto",
) -> Run:
    """A run from its directory, ready to evaluate, sample and report. Registered names only are built.

    Args:
        directory: of the run.
        pair: for a run whose model is not registered: the pair, made as it was, or ``file.py:Class`` again.
        data: for a run on data of one's own: the data, as they were given to ``fit``.
        device: where to put pair and data.

    Raises:
        UsageError: no run there; a file missing, truncated or edited; parameters that do not fit the model; data of
            another shape than the training data.
    """
    folder = Path(directory)
    config = read_config(folder)
    tensors, _ = read_checkpoint(folder / CHECKPOINT)
    place = choose_device(device)
    data = (as_dataset(data) if data is not None else _load_data(config)).to(place)
    _check_datum(config, data)
    rebuilt = _rebuild(config, pair).to(place)
    examples = _first_batches(config, data)
    batch = examples[0]
    for example in examples:
        rebuilt.prepare(*example)
    objective = make_objective(str(config["objective"].get("name")), **config["objective"]["options"])
    load_learner(rebuilt, objective, tensors, batch)
    state = {name: value.to(place) for name, value in state_of(tensors).items()}
    return Run(rebuilt, data, objective, config, read_metrics(folder / METRICS), folder, state)


def _first_batches(config: Mapping[str, Any], data: Dataset) -> list[Batch]:
    """Those that training began with, of each part: they told the sizes of what a pair makes at its first batch."""
    options, trains = config["training"], [part.train for part in data.parts]
    batches = Interleaved(trains, options.get("batch_size", 2), options.get("seed", 0)).first
    return [part.draw(batch) for part, batch in zip(data.parts, batches, strict=True)]


@contextmanager
def claimed_run(out: str | Path | None, resume: bool) -> Iterator[Path | None]:
    """The directory of :func:`claim_directory`; within it, no other process writes a run there.

    Raises:
        UsageError: as there, or somebody else is writing there.
    """
    folder = claim_directory(out, resume)
    if folder is None:
        yield None
        return
    with claimed(folder):
        yield claim_directory(folder, resume)  # again: somebody else may have written there before the lock was ours


def claim_directory(out: str | Path | None, resume: bool, files: Sequence[str] = FILES) -> Path | None:
    """The directory a run may be written to; nothing is created yet.

    Args:
        out: the directory; None: nothing is to be written.
        resume: whether to go on with the run in it.
        files: that will be written there, the one that marks a whole record first.

    Raises:
        UsageError: it holds a run and ``resume`` is False; it holds files of these names that are no run's, or links;
            or no files at all; it cannot be written; ``resume`` without a directory.
    """
    if out is None:
        if resume:
            raise UsageError("--resume needs the --out of the run to go on with.")
        return None
    folder = Path(out)
    there = [name for name in files if os.path.lexists(folder / name)]
    if files[0] in there and not resume:
        raise UsageError(f"{folder} holds a run already: add --resume to go on with it, or name another --out.")
    if there and files[0] not in there:
        raise UsageError(
            f"{folder} holds {there[0]} and no {files[0]}, so that it is not known whose it is: restore {files[0]}, or "
            "name another --out."
        )
    linked = [name for name in there if (folder / name).is_symlink()]
    strange = [name for name in there if not (folder / name).is_file()]
    if strange and not linked:
        raise UsageError(f"{folder / strange[0]} must be a file, and is none: take it away, or name another --out.")
    if linked:
        raise UsageError(f"{folder / linked[0]} is a link, and what it leads to would be changed: name another --out.")
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(
            f"--out {folder} cannot be written: {existing} is no directory you may write to; name another."
        )
    return folder


def writable_directory(out: str | Path) -> Path:
    """``out``, made where it is missing.

    Raises:
        UsageError: it cannot be.
    """
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror}; name another.") from error
    return Path(out)


def _model_config(pair: Pair) -> dict[str, Any]:
    if pair.origin is not None:
        return pair.origin
    name = next((name for name, spec in MODELS.items() if spec.cls is type(pair)), None)
    options = {key: value for key, value in pair.arguments.items() if not isinstance(value, DataSpec)}
    return {"name": name, "class": type(pair).__qualname__, "options": options if _is_json(options) else {}}


def _rebuild(config: Mapping[str, Any], pair: Pair | str | None) -> Pair:
    name, options = config["model"].get("name"), config["model"]["options"]
    if pair is not None and not isinstance(pair, str):
        return as_pair(pair)
    if pair is None and (name is None or name not in MODELS):
        raise UsageError(
            f"this run's model is {shown(name or config['model'].get('class'))}, which is not a registered name: "
            "name its file again (--model path/to/file.py:Class, or ppgen.load(directory, pair=...))."
        )
    return make_pair(pair or name, DataSpec.from_json(config["spec"]), **options)


def _load_data(config: Mapping[str, Any]) -> Dataset:
    if "name" not in config["data"]:
        raise UsageError(
            "this run was trained on tensors of your own: give them again, ppgen.load(directory, data=...)."
        )
    return load_data(config["data"]["name"], **config["data"].get("options", {}))


def _check_datum(config: Mapping[str, Any], data: Dataset) -> None:
    """The data have the features that the pair was made for: those of a file or of a library may have changed."""
    was, now = config["spec"].get("shape"), data.spec.to_json()["shape"]
    if was is not None and now is not None and was != now:
        raise UsageError(
            f"the run was trained on data of shape {tuple(was)} each, and these are {tuple(now)}: give it the data it "
            "was trained on, or train again."
        )
    was, now = config["spec"].get("num_features"), data.spec.num_features
    if was != now:
        raise UsageError(
            f"the run was trained on data of {was} features, and data {shown(data.spec.name)} have {now}: give it the "
            "data it was trained on, or train again."
        )


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
