"""``ppgen.fit``: train a pair on a data set, with a record that can be resumed."""

from __future__ import annotations

import json
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ppgen.arguments import options_of
from ppgen.data import Dataset, DataSpec, as_dataset
from ppgen.errors import DivergedError, UsageError, option, shown, within_memory
from ppgen.factory import as_objective, defaults_of
from ppgen.machine.devices import choose_device
from ppgen.machine.entry import entry_point
from ppgen.machine.progress import bar, say
from ppgen.machine.ranks import joined, launched, stopping_together
from ppgen.objectives.objective import Objective
from ppgen.pairs.function_pair import as_pair, check_takes
from ppgen.pairs.looking import seeded
from ppgen.pairs.pair import Pair
from ppgen.pairs.places import put_on
from ppgen.pairs.tracing import Batch
from ppgen.runs.alike import facts_of
from ppgen.runs.card import write_card
from ppgen.runs.config import CONFIG, describe, read_config
from ppgen.runs.directory import claimed_run
from ppgen.runs.recommended import recommended
from ppgen.runs.record import Record
from ppgen.runs.run import Run
from ppgen.training.callbacks import Callback, as_callbacks
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__ = ["fit", "fit_in"]


@entry_point
@stopping_together
def fit(
    pair: Any,
    data: Any,
    objective: Any = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    training: TrainingOptions | None = None,
    **options: Any,
) -> Run:
    """Train ``pair`` on ``data`` with ``objective``.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``; it is trained in place.
        data: a data set; or data of your own, which reach the pair as they are, all of them to train on
            (:func:`ppgen.data.as_dataset`): x or (x, y, ...), a dict of them, a frame, a data set of torch's, a file;
            or a list of several, whose batches take turns.
        objective: what to minimise, its registered name, or a ``pyro.infer.ELBO``, which trains eagerly; several that
            follow one another, a list or ``"greedy, up_down"`` (:class:`ppgen.objectives.staged.Staged`); None: what
            is recommended for a registered pair on such data, with its options of training in the place of their
            defaults.
        out: directory for the record; None: nothing is written.
        resume: go on with the run in ``out``; one that has no checkpoint yet starts from the beginning.
        device: ``auto``, ``cpu``, ``cuda``.
        progress: show a progress bar with the bound's trend, where there is a terminal or a notebook to show it.
        callbacks: are called after each step, validation and checkpoint, and may stop training
            (:class:`ppgen.Callback`).
        training: the options as one object; None: those that are given one by one.
        options: see :class:`ppgen.training.options.TrainingOptions`: ``epochs``, ``batch_size``, ``lr``, ``seed``, ...

    Raises:
        UsageError: anything in the arguments that cannot work, before anything is written; a number that is not
            finite in training (site and step are named; the last checkpoint stays); of a rank among several
            (:mod:`ppgen.machine.ranks`), what stopped another; a callback raised (it is named, its error is the cause,
            and the run can be gone on with).
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is written.
    """
    chosen, place = _chosen(training, options), choose_device(device)
    if objective is None:
        given = options if training is None else vars(training)
        pair, data = as_pair(pair), as_dataset(data)
        objective, chosen, said = recommended(pair, data, {}, given)
        if progress:
            say(said)
    objective, watching, asked = as_objective(objective), as_callbacks(callbacks), device != "auto"
    with claimed_run(out, resume, writes=joined().first) as folder:
        return fit_in(folder, as_pair(pair), as_dataset(data), objective, chosen, place, asked, progress, watching)


def fit_in(
    folder: Path | None,
    pair: Pair,
    data: Dataset,
    objective: Objective,
    options: TrainingOptions,
    place: torch.device,
    asked: bool,
    progress: bool,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """As :func:`fit`, in a folder that was claimed; ``asked`` is whether the user named the device.

    Raises:
        UsageError: as there.
    """
    if any(parameter.is_inference() for parameter in pair.parameters()):
        raise UsageError(
            "the pair's parameters were made under torch.inference_mode(), and can have no gradient: make the pair "
            "outside of it."
        )
    for part in data.parts:
        check_takes(pair, part.train)
        _check_made_for(pair, part)
        _advise(pair, part)
    data = data.to(put_on(pair, _first(data, options), place, asked=asked))
    config = describe(pair, data, objective, options, written=folder is not None)
    if folder is not None and (folder / CONFIG).exists():
        _check_same(read_config(folder), config, defaults_of(pair), options_of(type(objective)))
    ranks = joined()
    if ranks.size > 1:
        ranks.check_alike(facts_of(pair, objective, config))
    mend = "lower batch_size or num_particles, or make the pair smaller"
    with within_memory(_sizes(pair, objective, options), mend), seeded(options.seed), _stop_requests() as stop:
        record = Record(Trainer(pair, data, objective, options, ranks), folder, callbacks)
        try:
            record.begin(config)
            _train(record, stop, progress and ranks.first)
        except DivergedError:
            raise
        except UsageError:
            if record.callbacks.failure is None:  # without a callback that raised, the run may be gone on with
                record.take_back()
            raise
        finally:
            record.callbacks.call("at_end")
        record.callbacks.check(ranks)
        if folder is not None:
            write_card(folder)
        state = record.trainer.sharing.whole(record.trainer.state)
        stage = record.trainer.objective
    return Run(pair, data, objective, config, record.log.lines, folder, state, stage)


def _train(record: Record, stop: threading.Event, progress: bool) -> None:
    """To the end, to an early stop, to what a callback asks for or raises, or to a Ctrl-C."""
    trainer = record.trainer
    with bar(progress) as shown:
        task = shown.add_task("training", total=trainer.total_turns, completed=trainer.turn, note="")
        while not record.done:
            trainer.take_turn()
            if (note := record.see()) is not None:
                shown.update(task, note=note)
            shown.update(task, completed=trainer.turn)
            if trainer.ranks.agree(stop.is_set() or record.callbacks.stop):
                record.halt(stop.is_set())
                return
    record.end()


def _sizes(pair: Pair, objective: Objective, options: TrainingOptions) -> str:
    particles = max(stage.objective.at(0).total_particles for stage in objective.stages(pair))
    parameters = sum(parameter.numel() for parameter in pair.parameters())
    return (
        f"training on batches of B = {options.batch_size} data with K = {particles} particles each, of a pair with "
        f"{parameters:,} parameters,"
    )


def _first(data: Dataset, options: TrainingOptions) -> Callable[[], Batch]:
    part = data.parts[0]
    return lambda: part.draw(tuple(entry[: options.batch_size] for entry in part.train))


def _chosen(training: TrainingOptions | None, options: dict[str, Any]) -> TrainingOptions:
    if training is not None and options:
        raise UsageError(f"fit takes training or its options one by one, got both, {', '.join(options)}: give one.")
    try:
        return training or TrainingOptions(**options)
    except TypeError as error:
        known = ", ".join(TrainingOptions.__dataclass_fields__)
        raise UsageError(f"fit: {error}; its options are {known}.") from error


def _check_made_for(pair: Pair, data: Dataset) -> None:
    """A pair that was made for rows of a data set's kind is not given others, which it might broadcast."""
    spec = next((value for value in pair.arguments.values() if isinstance(value, DataSpec)), None)
    shape = data.spec.shape
    if spec is not None and "symbols" in (kinds := {spec.observation, data.spec.observation}) and len(kinds) > 1:
        raise UsageError(
            f"{type(pair).__name__} was made for data that are {spec.observation}, and data {shown(data.spec.name)} "
            f"are {data.spec.observation}: give it such data, or make a pair of their spec."
        )
    if spec is None or spec.observation == "any" or shape is None:
        return
    if shape != (spec.num_features,) or not data.train[0].is_floating_point():
        expected, came = f"(N, {spec.num_features})", tuple(data.train[0].shape)
        raise UsageError(
            f"{type(pair).__name__} was made for floating-point rows x of shape {expected}, and the data are {came} of "
            f"{data.train[0].dtype}: give it ppgen.dataset_from(x), which makes such rows, and a pair made of its spec."
        )


def _advise(pair: Pair, data: Dataset) -> None:
    """Warn of what the pair says of the first training data."""
    x = data.rows("train", slice(_ADVISED))[0]
    if said := pair.advice_on(x):
        warnings.warn(said, stacklevel=4)


_ADVISED = 1000
"""Training data that a pair may say something of before it is trained."""

_FREE = ("epochs", "steps", "checkpoint_every", "checkpoint_seconds", "kinds", "standardised")
"""What may change, and what follows from the data."""


def _check_same(
    old: dict[str, Any], new: dict[str, Any], defaults: Mapping[str, Any], of_objective: Mapping[str, Any]
) -> None:
    """A run goes on with what it was begun with; only its length may change.

    ``defaults`` are those of the model and of the objective, which a config of an earlier version leaves out.
    """
    parts = ({part: value for part, value in some.items() if value is not None} for some in (defaults, of_objective))
    new, defaults, of_objective = (json.loads(json.dumps(part, default=str)) for part in (new, *parts))
    model = {**old["model"], "options": {**defaults, **old["model"]["options"]}}
    given = new["objective"]["options"]
    later = {name: value for name, value in of_objective.items() if given.get(name) == value}
    objective = {**old["objective"], "options": {**later, **old["objective"]["options"]}}
    training = {**TrainingOptions().to_json(), **old["training"]}  # options that came later
    old = {**old, "model": model, "objective": objective, "training": training}
    for part in ("model", "spec", "data", "objective", "training"):
        for key in sorted(old[part].keys() | new[part].keys()):
            was, now = _given(old[part].get(key)), _given(new[part].get(key))
            if was != now and key not in _FREE:
                raise UsageError(
                    f"the run to resume was begun with {part} {key} = {shown(was)}, this one has {shown(now)}: "
                    f"give what it was begun with, or name another {option('out')}."
                )


def _given(value: Any) -> Any:
    """Options without those that are None: that is what one was which an earlier version did not have."""
    return {key: option for key, option in value.items() if option is not None} if isinstance(value, dict) else value


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that a turn is never cut in two; a second one interrupts at once.

    Not so a rank, to which both torchrun and the terminal send the first, and of which SIGTERM asks the same.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, frame: Any) -> None:
        if event.is_set() and not launched():
            raise KeyboardInterrupt
        event.set()

    numbers = [signal.SIGINT, signal.SIGTERM] if launched() else [signal.SIGINT]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
