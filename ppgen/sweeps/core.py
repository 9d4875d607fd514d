"""``sweep``: a run for each cell of a grid and each seed, some at a time, and which cell is best."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from ppgen.errors import DivergedError, UsageError, in_a_sentence, option, shown
from ppgen.files.checkpoint import go_on
from ppgen.files.documents import FORMAT, Document, read_document
from ppgen.files.writing import claimed, write_all, write_whole
from ppgen.machine.engines import engine_of
from ppgen.machine.entry import entry_point
from ppgen.machine.progress import bar
from ppgen.machine.workers import Answer, Engine, each
from ppgen.runs.directory import EVALUATION, claim_directory
from ppgen.runs.job import Job
from ppgen.runs.run import CONFIG
from ppgen.sweeps.grid import folder_name
from ppgen.sweeps.page import render
from ppgen.sweeps.plan import SweepPlan, judged_split
from ppgen.sweeps.result import Cell, Sweep, SweepRun

__all__ = ["PAGE", "RESULT", "sweep", "sweep_in"]

RESULT, PAGE = "sweep.json", "sweep.html"


@entry_point
def sweep(
    model: str,
    data: str,
    objective: str | None = None,
    *,
    out: str | Path,
    grid: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 3,
    seed: int = 0,
    resume: bool = False,
    budget: float | None = None,
    engine: str = "local",
    workers: int | None = None,
    threads: int | None = None,
    progress: bool = True,
    model_options: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    objective_options: Mapping[str, Any] | None = None,
    split: str | None = None,
    particles: int = 1000,
    num_data: int | None = None,
    device: str = "auto",
    **training: Any,
) -> Sweep:
    """Train a run for each cell of a grid and each seed, evaluate it, and say which cell is best.

    Each run is what ``ppgen train`` makes and ``ppgen evaluate`` judges. With workers, call it from what is guarded by
    ``if __name__ == "__main__":``, since each of them imports the script that started it.

    Args:
        model: a registered name, or ``file.py:Class``.
        data: a registered name.
        objective: a registered name; None: the grid has several.
        out: directory for the runs, one folder each, ``sweep.json`` and ``sweep.html``.
        grid: values by option: of training ``lr``, of the model ``M.latent_dim``, of the objective
            ``O.num_particles``, of the data ``D.binarize``, and ``objective``.
        seeds: runs of each cell.
        seed: the first of their seeds.
        resume: go on with the sweep in ``out``: with what is not done, or failed otherwise than by diverging. There may
            be more seeds and more values than before.
        budget: seconds of the whole, after which no run is begun; None: no limit.
        engine: ``local``, processes of this machine; ``ray``, a Ray cluster.
        workers: runs at a time; None: one, in this process, or as many as the cluster has cores for.
        threads: of a worker; None: one.
        progress: show progress, where there is a terminal or a notebook.
        model_options, data_options, objective_options: for all runs.
        split: the data that judge; None: validation data.
        particles: K of the bound on their log p(x).
        num_data: only the first so many of them; None: all.
        device: ``auto``, ``cpu``, ``cuda``.
        training: options of :class:`ppgen.training.options.TrainingOptions`, for all runs.

    Raises:
        UsageError: an option is unknown, is given twice, has a value that is refused, before anything is written;
            ``out`` holds another sweep, or somebody else sweeps into it.
        KeyboardInterrupt: after Ctrl-C, once the runs at hand have written their checkpoints.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     options = {"grid": {"lr": (0.01, 0.1)}, "seeds": 1, "steps": 2, "eager": True, "particles": 2}
    ...     found = sweep("linear_gaussian", "linear_gaussian", "elbo", out=f"{folder}/swept", **options)
    >>> type(found).__name__, found.num_done, [cell.label for cell in found.cells]
    ('Sweep', 2, ['lr=0.01', 'lr=0.1'])
    """
    plan = SweepPlan(
        model=model,
        data=data,
        objective=objective,
        model_options=model_options or {},
        data_options=data_options or {},
        objective_options=objective_options or {},
        training=training,
        grid={key: _several(key, values) for key, values in (grid or {}).items()},
        seeds=seeds,
        seed=seed,
        split=split,
        particles=particles,
        num_data=num_data,
        device=device,
    )
    where = engine_of(engine, workers, threads, gpus=device != "cpu")
    return sweep_in(Path(out), plan, where, resume=resume, budget=budget, progress=progress)


def sweep_in(
    folder: Path, plan: SweepPlan, engine: Engine, *, resume: bool, budget: float | None = None, progress: bool = False
) -> Sweep:
    """As :func:`sweep`, of a plan.

    Raises:
        UsageError: as there.
    """
    end = time.monotonic() + (float("inf") if budget is None else budget)
    checked = plan.check()
    with _claimed_sweep(folder, resume):
        book = _Book(folder, plan, checked)
        book.write()
        todo = takewhile(lambda task: time.monotonic() < end, book.todo())
        with engine, bar(progress) as shown:
            line = shown.add_task("runs", total=len(book.runs), completed=book.num_ended, note="")
            for task, answer in each(engine, _carried_out, todo):
                book.enter(task, answer)
                shown.update(line, completed=book.num_ended, note=task.run.folder)
        found = book.found()
        write_all({folder / RESULT: book.text(), folder / PAGE: render(found).encode()}, then=go_on())
    return found


def _several(key: str, values: Sequence[Any]) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UsageError(f"the grid's {key} must be a list of values, got {shown(values)}: write [{shown(values)}].")
    return tuple(values)


@dataclass(frozen=True)
class _Task:
    """A run to be done, in a worker."""

    run: SweepRun
    job: Job
    folder: Path
    split: str | None
    particles: int
    num_data: int | None


def _carried_out(task: _Task) -> SweepRun:
    """The run, trained to its end and evaluated; one that had begun goes on."""
    run = task.job.train(task.folder, resume=True)
    split = judged_split(run.data, task.split)
    found = run.evaluate(split, task.particles, num_data=task.num_data, progress=False)
    last: Mapping[str, Any] = run.metrics[-1] if run.metrics else {"seconds": 0.0, "step": 0}
    return replace(
        task.run,
        status="done",
        log_likelihood=found.log_likelihood,
        standard_error=found.standard_error,
        measured=found.title,
        effective_chains=None if found.log_z is None else found.log_z.effective_sample_size,
        seconds=last["seconds"],
        steps=last["step"],
        sentence="",
    )


class _Cell(Document):
    runs: tuple[SweepRun, ...]


class _File(Document):
    """What :meth:`_Book.text` gives."""

    kind: Literal["sweep"]
    plan: dict[str, Any]
    cells: tuple[_Cell, ...]


@dataclass
class _Book:
    """The record of a sweep: what became of each run, by its folder."""

    folder: Path
    plan: SweepPlan
    checked: Mapping[str, Any]
    runs: dict[str, SweepRun] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take up what was kept.

        Raises:
            UsageError: it is another sweep, or there are runs and no record.
        """
        kept = self._kept()
        for cell in self.plan.cells:
            for seed in self.plan.all_seeds:
                name = _folder_of(cell, seed)
                if kept is None and (self.folder / name / CONFIG).exists():
                    raise UsageError(
                        f"{self.folder} holds the run {name} and no {RESULT}, so that it is not known whose it is: "
                        f"restore {RESULT}, or name another {option('out')}."
                    )
                self.runs[name] = (kept or {}).get(name, SweepRun(seed, name))

    @property
    def num_ended(self) -> int:
        """How many runs need not be done."""
        return sum(map(self._is_ended, self.runs.values()))

    def todo(self) -> Iterator[_Task]:
        """The runs to be done: all cells with the first seed, then with the next."""
        for seed in self.plan.all_seeds:
            for cell in self.plan.cells:
                run = self.runs[_folder_of(cell, seed)]
                if not self._is_ended(run):
                    place = self.folder / run.folder
                    judged = self.plan.split, self.plan.particles, self.plan.num_data
                    yield _Task(run, self.plan.job(cell, seed), place, *judged)

    def enter(self, task: _Task, answer: Answer) -> None:
        """Keep what a run gave."""
        if answer.error is None:
            run: SweepRun = answer.result
        else:
            status: Literal["diverged", "failed"] = "diverged" if isinstance(answer.error, DivergedError) else "failed"
            run = replace(task.run, status=status, sentence=in_a_sentence(answer.error)[0])
        self.runs[run.folder] = run
        self.write()

    def found(self) -> Sweep:
        """The sweep as it is."""
        cells = [
            Cell(cell, tuple(self.runs[_folder_of(cell, seed)] for seed in self.plan.all_seeds))
            for cell in self.plan.cells
        ]
        return Sweep(tuple(cells), self.checked, self.folder)

    def text(self) -> bytes:
        """What ``sweep.json`` holds."""
        return json.dumps({"format": FORMAT, "kind": "sweep", **self.found().to_json()}, indent=2, default=str).encode()

    def write(self) -> None:
        """Write it."""
        write_whole(self.folder / RESULT, self.text(), then=go_on())

    def _is_ended(self, run: SweepRun) -> bool:
        return run.status == "diverged" or (run.status == "done" and (self.folder / run.folder / EVALUATION).is_file())

    def _kept(self) -> dict[str, SweepRun] | None:
        file = self.folder / RESULT
        if not file.exists():
            return None
        found = read_document(file, _File, f"restore it, or sweep again into another {option('out')}")
        _check_goes_on(found.plan, self.checked)
        return {run.folder: run for cell in found.cells for run in cell.runs}


def _folder_of(cell: Mapping[str, Any], seed: int) -> str:
    return os.path.join(folder_name(cell), f"seed-{seed}")


@contextmanager
def _claimed_sweep(folder: Path, resume: bool) -> Iterator[None]:
    """Within it, no other process sweeps into the folder.

    Raises:
        UsageError: one does; it holds a sweep and ``resume`` is False, or something else; it cannot be written.
    """
    _check_free(folder, resume)
    with claimed(folder):
        _check_free(folder, resume)  # again: somebody else may have written there before the lock was ours
        yield


def _check_free(folder: Path, resume: bool) -> None:
    if os.path.lexists(folder / CONFIG):
        raise UsageError(f"{folder} holds a run or a comparison: name another {option('out')}.")
    if not resume and os.path.lexists(folder / RESULT):
        raise UsageError(
            f"{folder} holds a sweep already: add {option('resume', True)} to go on with it, or name another "
            f"{option('out')}."
        )
    claim_directory(folder, resume, files=(RESULT, PAGE))


def _check_goes_on(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """A sweep goes on with what it was begun with; only seeds and values may be added."""
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if not {"seeds": _has_more, "grid": _holds}.get(key, _is_same)(was, now):
            raise UsageError(
                f"the sweep to resume was begun with {key} = {shown(was)}, this one has {shown(now)}: give what it was "
                f"begun with, or name another {option('out')}."
            )


def _is_same(was: Any, now: Any) -> bool:
    return bool(was == now)


def _has_more(was: Any, now: Any) -> bool:
    return isinstance(was, int) and was <= now


def _holds(was: Any, now: Mapping[str, Any]) -> bool:
    """Whether each option has at least its values."""
    return (
        isinstance(was, dict)
        and was.keys() == now.keys()
        and all(value in now[key] for key, values in was.items() for value in values)
    )
