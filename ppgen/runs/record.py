"""The record of a training: samples, reports and validations on its way, and the checkpoint that it goes on from."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppgen.errors import UsageError, option, shown
from ppgen.files.checkpoint import go_on, read_checkpoint, write_checkpoint
from ppgen.files.documents import Seconds, WholeNumber
from ppgen.files.writing import write_whole
from ppgen.runs.config import CONFIG
from ppgen.runs.directory import CHECKPOINT, EVALUATION, FILES, METRICS, VOCABULARY
from ppgen.runs.snapshots import Recorder
from ppgen.training.callbacks import Callback, Callbacks, Training
from ppgen.training.fitness import is_comparable
from ppgen.training.metrics import MetricsLog, score
from ppgen.training.progress import Progress
from ppgen.training.stopping import EarlyStopping
from ppgen.training.trainer import Trainer

__all__ = ["Facts", "Record"]


class Facts(Progress):
    """What a checkpoint holds beside its tensors."""

    bounds: tuple[float, ...]
    seconds: Seconds
    metrics: WholeNumber
    """Bytes of the record up to here, and ``record``: all of them, a last look at the end of a shorter run included."""
    record: WholeNumber = 0


class Record:
    """What is kept of a training, in ``folder``; of one without a folder, in memory. ``callbacks`` are told of it."""

    def __init__(self, trainer: Trainer, folder: Path | None, callbacks: Iterable[Callback] = ()) -> None:
        self.trainer, self.folder, options = trainer, folder, trainer.options
        self.log = MetricsLog(None if folder is None else folder / METRICS)
        self.snapshots = Recorder(folder, trainer.learner.pair, trainer.data, trainer.total_turns)
        self._is_new, self._kept_turn = False, 0
        self._begin_stage()
        self.every = options.validate_every or max(100, trainer.turns_per_epoch)
        mine = callbacks if trainer.ranks.first else ()
        self.callbacks = Callbacks(mine, Training(trainer, folder, self.log))
        self._started = self._saved = time.perf_counter()

    def _begin_stage(self) -> None:
        """Bounds of one objective are not compared with those of another."""
        options = self.trainer.options
        self._stage, self.stopping = self.trainer.stage_number, EarlyStopping(options.patience, options.window)

    @property
    def done(self) -> bool:
        """Whether training is at its end, or patience is."""
        return self.trainer.turn >= self.trainer.total_turns or self.stopping.done

    def begin(self, config: Mapping[str, Any]) -> None:
        """Write what the run is, and take up what was kept of it; one that cannot be resumed is left as it was."""
        begun = self.restore()
        self._is_new = not begun
        if self.folder is not None:
            file = self.folder / CONFIG
            text = json.dumps(config, indent=2, default=str)
            write_whole(file, text.encode(), then=go_on() if file.exists() else "")
            if words := self.trainer.data.spec.vocabulary:
                write_whole(self.folder / VOCABULARY, "".join(f"{word}\n" for word in words).encode())
            (self.folder / EVALUATION).unlink(missing_ok=True)  # of the parameters before
        self.callbacks.training.config = config
        self.callbacks.call("at_start")
        if not begun:
            self.save()
        self._take_snapshot()
        self.callbacks.check(self.trainer.ranks)

    def take_back(self) -> None:
        """Remove what was written of a run that :meth:`begin` began, of which nothing is kept but where it began."""
        if self.folder is not None and self._is_new and not self._kept_turn:
            for name in FILES:
                (self.folder / name).unlink(missing_ok=True)

    def see(self) -> str | None:
        """Take note of a turn; where a validation was due, its bound and the trend in words."""
        if self._stage != self.trainer.stage_number:
            self._begin_stage()
        self._take_snapshot()
        self._note_choice()
        self.callbacks.call("after_step")
        is_due = self.trainer.turn % self.every == 0 or self.trainer.leaves_stage
        words = self._judged(*self._looked()) if is_due else None
        if self._is_due(validated=words is not None):
            self.save()
        return words

    def halt(self, interrupted: bool) -> None:
        """Before the end: since a callback asked for it or raised, or a Ctrl-C was seen, on whatever rank.

        Raises:
            KeyboardInterrupt: it was a Ctrl-C; the checkpoint is written.
        """
        interruptions, failures = zip(
            *self.trainer.ranks.gathered([interrupted, self.callbacks.failure is not None]), strict=True
        )
        if not any(interruptions + failures):
            self.end()
            return
        self.save()
        if any(interruptions):
            raise KeyboardInterrupt

    def end(self) -> None:
        """Take note of the end, and give the pair its best parameters, where there is a patience."""
        facts = self.facts()
        if self.trainer.sums:  # a longer run would not look here: neither what it goes on from nor patience knows of it
            self._looked()
        self.save(facts)
        self.stopping.take_best(self.trainer.learner)

    def facts(self) -> dict[str, Any]:
        """The numbers that training resumes from, beside the tensors."""
        kept = {"bounds": self.stopping.bounds, "seconds": self._elapsed(), "metrics": self.log.size}
        return {**self.trainer.facts(), **kept}

    def save(self, facts: Mapping[str, Any] | None = None) -> None:
        """Write the checkpoint, with the facts of now or of a little earlier."""
        self._saved, self._kept_turn = time.perf_counter(), self.trainer.turn
        tensors = {**self.trainer.tensors(), **self.stopping.tensors()}  # of all ranks
        if self.folder is not None:
            file = self.folder / CHECKPOINT
            write_checkpoint(file, tensors, {**(facts or self.facts()), "record": self.log.size})
            self.callbacks.call("after_checkpoint", file)

    def restore(self) -> bool:
        """Take up the checkpoint, where there is one; what the record holds beyond it does not count.

        Nothing is written. Returns whether there is one.

        Raises:
            UsageError: checkpoint and record are not those of this run, or were edited.
        """
        checkpoint, tensors, text = None if self.folder is None else self.folder / CHECKPOINT, None, ""
        if checkpoint is not None and checkpoint.exists():
            tensors, found = read_checkpoint(checkpoint, Facts)
            text = json.dumps(found.model_dump())
        ranks = self.trainer.ranks
        tensors, text = ranks.of_first(tensors), ranks.gathered(text)[0]
        if tensors is None:
            return False
        facts = Facts.model_validate_json(text)
        try:
            self.trainer.restore(tensors, facts)
            self._begin_stage()
            self.stopping.restore(tensors, facts.bounds, self.trainer.learner)
            self.log.restore(facts.metrics, facts.record)
            self.snapshots.restore(self.trainer.turn)
        except UsageError:
            raise
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise UsageError(
                f"checkpoint {checkpoint} cannot be resumed from ({shown(error)}): it was edited; restore it, or train "
                f"again into another {option('out')}."
            ) from error
        self._started = time.perf_counter() - facts.seconds
        return True

    def _is_due(self, *, validated: bool) -> bool:
        """Whether a checkpoint is, which all ranks write together."""
        trainer = self.trainer
        if trainer.options.checkpoint_every is not None:
            return trainer.turn % trainer.options.checkpoint_every == 0
        elapsed = time.perf_counter() - self._saved
        return validated and trainer.ranks.gathered(elapsed > trainer.options.checkpoint_seconds)[0]

    def _take_snapshot(self) -> None:
        trainer = self.trainer
        self.snapshots.see(trainer.turn, trainer.objective.chains(trainer.state) if trainer.state else None)

    def _looked(self) -> tuple[str, Mapping[str, float]]:
        """Record the training report and, with validation data, their bound; returns the last of them, and of what."""
        trainer, place = self.trainer, self._place()
        rate = trainer.rate(trainer.turn)
        trained = trainer.report()
        self.log.add({**place, "split": "train", "learning_rate": rate, **trained})
        validated = trainer.validate()
        if validated:
            self.log.add({**place, "split": "valid", **validated})
        every = {"train": trained, "valid": validated} if validated else {"train": trained}
        self.callbacks.call("after_validation", every)
        return ("valid", validated) if validated else ("train", trained)

    def _place(self) -> dict[str, Any]:
        trainer = self.trainer
        stage = {"stage": trainer.span.stage.name} if len(trainer.spans) > 1 else {}
        epoch, seconds = round(trainer.epoch, 4), round(self._elapsed(), 3)
        return {"step": trainer.turn, "epoch": epoch, "seconds": seconds, **stage}

    def _note_choice(self) -> None:
        """Record a measurement that was made before this turn."""
        if (news := self.trainer.chooser.news) is not None:
            each = (("work", news.work), ("variance", news.variance))
            numbers = {f"{what}/{name}": value for what, values in each for name, value in values.items()}
            step = self.trainer.turn - 1
            self.log.add({**self._place(), "step": step, "split": "choice", "played": news.played, **numbers})

    def _judged(self, split: str, report: Mapping[str, float]) -> str:
        """Let patience see a report; returns the bound's trend in words."""
        if not {"bound", "loss"} & report.keys():  # of a game, whose players have a loss each
            return ""
        trend = self.stopping.trend(score(report))
        comparable = split == "valid" and is_comparable(self.trainer.objective, report)
        self.stopping.see(score(report), self.trainer.learner, keep=comparable)
        return f"{split} {'bound' if 'bound' in report else 'minus loss'} {score(report):.2f} {trend}"

    def _elapsed(self) -> float:
        """Seconds of training, over all sessions, without those of compiling."""
        return time.perf_counter() - self._started - self.trainer.compiling - self.trainer.steps.compiling
