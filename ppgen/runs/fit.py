"""``ppgen.fit``: train a pair on a data set, with a record that can be gone on from."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ppgen.data import Dataset, DataSpec, as_dataset
from ppgen.errors import UsageError, shown
from ppgen.factory import as_objective
from ppgen.files.checkpoint import RESUME, read_checkpoint, write_checkpoint
from ppgen.files.documents import Seconds, WholeNumber
from ppgen.files.writing import write_whole
from ppgen.machine.devices import choose_device
from ppgen.machine.entry import entry_point
from ppgen.machine.progress import bar
from ppgen.objectives.objective import Objective
from ppgen.pairs.function_pair import as_pair, check_takes
from ppgen.pairs.pair import Pair
from ppgen.pairs.places import put_on
from ppgen.pairs.tracing import Batch
from ppgen.runs.config import describe
from ppgen.runs.directory import CHECKPOINT, EVALUATION, METRICS, claimed_run
from ppgen.runs.run import CONFIG, Run, read_config
from ppgen.runs.snapshots import Recorder
from ppgen.training.metrics import MetricsLog, score
from ppgen.training.options import TrainingOptions
from ppgen.training.stopping import EarlyStopping
from ppgen.training.trainer import Progress, Trainer

__all__ = ["Facts", "fit"]


@entry_point
def fit(
    pair: Any,
    data: Any,
    objective: Objective | str,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: bool = False,
    **options: Any,
) -> Run:
    """Train ``pair`` on ``data`` with ``objective``.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``; it is trained in place.
        data: a data set; or data of your own, which reach the pair as they are, all of them to train on
            (:func:`ppgen.data.as_dataset`): x or (x, y, ...), a frame, a data set of torch's, a file; or a list of
            several, whose batches take turns.
        objective: what to minimise, or its registered name.
        out: directory for the record; None: nothing is written.
        resume: go on with the run in ``out``; one that has no checkpoint yet starts from the beginning.
        device: ``auto``, ``cpu``, ``cuda``.
        progress: show a progress bar with the bound's trend.
        options: see :class:`ppgen.training.options.TrainingOptions`: ``epochs``, ``batch_size``, ``lr``, ``seed``, ...

    Raises:
        UsageError: anything in the arguments that cannot work, before anything is written; a number that is not
            finite in training (site and step are named; the last checkpoint stays).
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is written.
    """
    chosen, objective = _options(options), as_objective(objective)
    with claimed_run(out, resume) as folder:
        data, pair = as_dataset(data), as_pair(pair)
        if any(parameter.is_inference() for parameter in pair.parameters()):
            raise UsageError(
                "the pair's parameters were made under torch.inference_mode(), and can have no gradient: make the pair "
                "outside of it."
            )
        for part in data.parts:
            check_takes(pair, part.train)
            _check_made_for(pair, part)
        data = data.to(put_on(pair, _first(data, chosen), choose_device(device), asked=device != "auto"))
        config = describe(pair, data, objective, chosen)
        if folder is not None and (folder / CONFIG).exists():
            _check_same(read_config(folder), config)
        with torch.random.fork_rng(), _stop_requests() as stop:
            torch.manual_seed(chosen.seed)
            session = _Session(Trainer(pair, data, objective, chosen), folder)
            if folder is not None:
                session.begin(folder, config)
            session.run(stop, progress)
    return Run(pair, data, objective, config, session.log.lines, folder, session.trainer.state)


def _first(data: Dataset, options: TrainingOptions) -> Callable[[], Batch]:
    part = data.parts[0]
    return lambda: part.draw(tuple(entry[: options.batch_size] for entry in part.train))


class Facts(Progress):
    """What a checkpoint holds beside its tensors."""

    bounds: tuple[float, ...]
    seconds: Seconds
    metrics: WholeNumber
    """Bytes of the record up to here, and ``record``: all of them, a last look at the end of a shorter run included."""
    record: WholeNumber = 0


class _Session:
    """One process's part of a run: the trainer, the record, and when to look, save and stop."""

    def __init__(self, trainer: Trainer, folder: Path | None) -> None:
        self.trainer, self.options = trainer, trainer.options
        self.log = MetricsLog(None if folder is None else folder / METRICS)
        self.checkpoint = None if folder is None else folder / CHECKPOINT
        self.snapshots = Recorder(folder, trainer.learner.pair, trainer.data, trainer.total_turns)
        self.stopping = EarlyStopping(self.options.patience, self.options.window)
        self.every = self.options.validate_every or max(100, trainer.turns_per_epoch)
        self.seconds, self._started = 0.0, time.perf_counter()
        self._saved = time.perf_counter()

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Write what the run is; one that cannot be gone on with is left as it was."""
        begun = (folder / CHECKPOINT).exists()
        if begun:
            self.go_on(folder / CHECKPOINT)
        text = json.dumps(config, indent=2, default=str)
        write_whole(folder / CONFIG, text.encode(), then=RESUME if (folder / CONFIG).exists() else "")
        (folder / EVALUATION).unlink(missing_ok=True)  # of the parameters before
        if not begun:
            self.save()

    def run(self, stop: threading.Event, progress: bool) -> None:
        """Train to the end, to an early stop, or to a Ctrl-C."""
        trainer, total = self.trainer, self.trainer.total_turns
        with bar(progress) as shown:
            task = shown.add_task("training", total=total, completed=trainer.turn, note="")
            self.take_snapshot()
            while trainer.turn < total and not self.stopping.done:
                trainer.take_turn()
                self.take_snapshot()
                if trainer.turn % self.every == 0:
                    shown.update(task, note=self.judge(*self.look()))
                    if time.perf_counter() - self._saved > self.options.checkpoint_seconds:
                        self.save()
                shown.update(task, completed=trainer.turn)
                if stop.is_set():
                    self.save()
                    raise KeyboardInterrupt
        facts = self.facts()
        if trainer.sums:  # a longer run would not look here: neither what it goes on from nor patience knows of it
            self.look()
        self.save(facts)
        self.stopping.take_best(trainer.learner)

    def look(self) -> tuple[str, Mapping[str, float]]:
        """Record the training report and, with validation data, their bound; returns the last of them, and of what."""
        trainer = self.trainer
        place = {"step": trainer.turn, "epoch": round(trainer.epoch, 4), "seconds": round(self.elapsed(), 3)}
        rate = self.options.rate(trainer.turn, trainer.total_turns)
        trained = trainer.report()
        self.log.add({**place, "split": "train", "learning_rate": rate, **trained})
        validated = trainer.validate()
        if validated:
            self.log.add({**place, "split": "valid", **validated})
        return ("valid", validated) if validated else ("train", trained)

    def judge(self, split: str, report: Mapping[str, float]) -> str:
        """Let patience see a report; returns the bound's trend in words."""
        if not {"bound", "loss"} & report.keys():  # of a game, whose players have a loss each
            return ""
        trend = self.stopping.trend(score(report))
        self.stopping.see(score(report), self.trainer.learner)
        return f"{split} {'bound' if 'bound' in report else 'minus loss'} {score(report):.2f} {trend}"

    def take_snapshot(self) -> None:
        """Record samples if this turn is a moment for them."""
        trainer = self.trainer
        self.snapshots.see(trainer.turn, trainer.objective.chains(trainer.state) if trainer.state else None)

    def facts(self) -> dict[str, Any]:
        """The numbers that training goes on from, beside the tensors."""
        seconds, metrics = self.elapsed(), self.log.size
        return {**self.trainer.facts(), **self.stopping.facts(), "seconds": seconds, "metrics": metrics}

    def save(self, facts: Mapping[str, Any] | None = None) -> None:
        """Write the checkpoint, with the facts of now or of a little earlier."""
        self._saved = time.perf_counter()
        if self.checkpoint is not None:
            tensors = {**self.trainer.tensors(), **self.stopping.tensors()}
            write_checkpoint(self.checkpoint, tensors, {**(facts or self.facts()), "record": self.log.size})

    def go_on(self, checkpoint: Path) -> None:
        """Take up the checkpoint; what the record holds beyond it does not count. Nothing is written.

        Raises:
            UsageError: checkpoint and record are not those of this run, or were edited.
        """
        tensors, facts = read_checkpoint(checkpoint, Facts)
        try:
            self.trainer.restore(tensors, facts)
            self.stopping.restore(tensors, facts.bounds, self.trainer.learner)
            self.log.go_on(facts.metrics, facts.record)
            self.snapshots.go_on(self.trainer.turn)
        except UsageError:
            raise
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise UsageError(
                f"checkpoint {checkpoint} cannot be gone on from ({shown(error)}): it was edited; restore it, or train "
                "again into another --out."
            ) from error
        self.seconds, self._started = facts.seconds, time.perf_counter()

    def elapsed(self) -> float:
        """Seconds of training, over all sessions."""
        return self.seconds + time.perf_counter() - self._started


def _options(options: dict[str, Any]) -> TrainingOptions:
    try:
        return TrainingOptions(**options)
    except TypeError as error:
        known = ", ".join(TrainingOptions.__dataclass_fields__)
        raise UsageError(f"fit: {error}; its options are {known}.") from error


def _check_made_for(pair: Pair, data: Dataset) -> None:
    """A pair that was made for rows of a data set's kind is not given others, which it might broadcast."""
    spec = next((value for value in pair.arguments.values() if isinstance(value, DataSpec)), None)
    shape = data.spec.shape
    if spec is None or spec.observation == "any" or shape is None:
        return
    if shape != (spec.num_features,) or not data.train[0].is_floating_point():
        expected, came = f"(N, {spec.num_features})", tuple(data.train[0].shape)
        raise UsageError(
            f"{type(pair).__name__} was made for floating-point rows x of shape {expected}, and the data are {came} of "
            f"{data.train[0].dtype}: give it ppgen.dataset_from(x), which makes such rows, and a pair made of its spec."
        )


def _check_same(old: dict[str, Any], new: dict[str, Any]) -> None:
    """A run goes on with what it was begun with; only its length may change."""
    new = json.loads(json.dumps(new, default=str))
    old = {**old, "training": {**TrainingOptions().to_json(), **old["training"]}}  # options that came later
    for part in ("model", "spec", "data", "objective", "training"):
        for key in sorted(old[part].keys() | new[part].keys()):
            was, now = old[part].get(key), new[part].get(key)
            if was != now and key not in ("epochs", "steps", "checkpoint_seconds"):
                raise UsageError(
                    f"the run to resume was begun with {part} {key} = {shown(was)}, this one has {shown(now)}: "
                    "give what it was begun with, or name another --out."
                )


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that a turn is never cut in two; a second one interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
