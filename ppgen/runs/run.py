"""A run: a directory that holds all that a training was and gave.

config.json             all that rebuilds it: model, data, objective, options, versions
metrics.jsonl           one JSON object a line
checkpoint.safetensors  parameters, optimizers, state, random numbers
snapshots.safetensors   samples at a few moments of training (:mod:`ppgen.runs.snapshots`)
evaluation.json         the last evaluation, if there was one
diagnosis.json          the last diagnosis, if there was one
posterior.nc            draws of some data's posterior, for ArviZ (:func:`ppgen.to_inference_data`), from then
README.md               the model card (:mod:`ppgen.runs.card`)
report.html             the page, if it was written
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ppgen.data import Dataset, as_dataset
from ppgen.diagnostics import Diagnosis, diagnose
from ppgen.draws.completions import completions, upper_half
from ppgen.draws.embedding import Embedding, embedding
from ppgen.draws.inferred import Posterior, infer
from ppgen.draws.samples import Draws, conditions, prior_samples
from ppgen.errors import UsageError, is_out_of_memory
from ppgen.evaluation import Evaluation, evaluate, judge
from ppgen.files.documents import read_document
from ppgen.files.writing import write_all
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import State
from ppgen.pages.brief import Brief
from ppgen.pages.numbers import number
from ppgen.pairs.looking import seeded
from ppgen.pairs.pair import Pair
from ppgen.pairs.rows import take_rows
from ppgen.pairs.tracing import Batch
from ppgen.posterior.inference_data import POSTERIOR, write_posterior
from ppgen.runs.card import with_card
from ppgen.runs.config import CONFIG, read_config
from ppgen.runs.directory import DIAGNOSIS, EVALUATION, writable_directory
from ppgen.runs.page import page_of
from ppgen.runs.snapshots import Snapshots

__all__ = ["CONFIG", "Run", "read_config"]


T = TypeVar("T")

_KEPT = 16
"""Data whose posterior a diagnosis keeps."""


@dataclass(repr=False)
class Run(Brief):
    """A trained pair with the data and objective it was trained on, and where that is recorded.

    Attributes:
        pair: with its trained parameters.
        data: what it was trained on.
        objective: what it was trained with.
        config: what ``config.json`` holds.
        metrics: what ``metrics.jsonl`` holds: training reports and validation bounds, per datum, in nats.
        directory: None for a run that was not written.
        state: what the last step handed on.
        of_stage: see :attr:`stage`.
        writes: whether what is found of the run is kept in its directory; not so of parameters that are not those which
            training left in the pair.

    >>> import ppgen, torch
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"))
    >>> run = ppgen.fit(pair, torch.randn(20, 3), "elbo", steps=2, eager=True)
    >>> run.metrics[-1]["step"], run.evaluate(particles=10).split  # nothing is held out
    (2, 'train')
    """

    pair: Pair
    data: Dataset
    objective: Objective
    config: Mapping[str, Any]
    metrics: list[dict[str, Any]]
    directory: Path | None = None
    state: State = field(default_factory=dict)
    of_stage: Objective | None = None
    writes: bool = True

    def brief(self) -> tuple[str, list[tuple[str, ...]]]:
        """What was trained on what by what; the last report, and what was found since."""
        heading = f"{type(self.pair).__name__} on {self.data.spec.name} by {self.objective}"
        rows: list[tuple[str, ...]] = [
            ("directory", "none: not written" if self.directory is None else str(self.directory))
        ]
        for split in ("train", "valid"):
            lines = [line for line in self.metrics if line["split"] == split]
            rows += [(f"last {split}", _last(lines[-1]))] if lines else []
        rows += [] if self.evaluation is None else [("evaluation", self.evaluation.sentence)]
        rows += [] if self.diagnosis is None else [("diagnosis", self.diagnosis.tally)]
        return heading, rows

    @property
    def chains(self) -> Tensor | None:
        """Where the objective's persistent chains stand, (num, D); None: it keeps none."""
        return self.stage.chains(self.state) if self.state else None

    @property
    def stage(self) -> Objective:
        """The objective of the stage that training stands in: of one without stages, the ``objective``."""
        return self.of_stage or self.objective

    def evaluate(
        self, split: str | None = None, particles: int = 1000, *, write: bool = True, **options: Any
    ) -> Evaluation:
        """Test log-likelihood in nats with its standard error; see :func:`ppgen.evaluation.evaluate`.

        Args:
            split: which data.
            particles: K of the bound.
            write: whether to :meth:`keep` it in the run's directory.
            options: those of :func:`ppgen.evaluation.evaluate`; ``classifier`` may be a run.
        """
        if self.pair.needs_log_z and isinstance(asked := options.get("log_z") or {}, Mapping):
            options["log_z"] = {"start": self.chains, **asked}
        if isinstance(judge_of := options.get("classifier"), Run):
            options["classifier"] = judge(judge_of.pair, judge_of.data)
        result = evaluate(self.pair, self.data, split=split, particles=particles, **options)
        if write:
            self.keep(result)
        return result

    def sample(self, num: int = 64, *, seed: int = 0) -> Draws:
        """Draws of the model; see :func:`ppgen.draws.prior_samples`. Chains go on from where training left them."""
        return prior_samples(self.pair, conditions(self.data, max(1, num)), num, start=self.chains, seed=seed)

    def embed(self, split: str | None = None, **options: Any) -> Embedding:
        """Where the guide puts the data of a split: the mean of their latents; see :func:`ppgen.draws.embedding`.

        Args:
            split: which data; None: ``test``, or the last that there is.
            options: those of :func:`ppgen.draws.embedding`.
        """
        return embedding(self.pair, self.data.draw(self.data.rows(split or self.data.last_split)), **options)

    def infer(self, x: Any, **options: Any) -> Posterior:
        """What the guide says of new data: draws of their latents, means, deviations; for ArviZ by its own method.

        Args:
            x: data as the run was trained on them, (B, D), or (x, y, ...) where the pair takes more: tensors, arrays, a
                frame (:func:`ppgen.data.as_dataset`).
            options: those of :func:`ppgen.draws.infer`: ``num_samples``, ``resampled_from``, ``seed``, ``progress``.

        Raises:
            UsageError: the data have another shape than those of training, or another number of tensors; the pair has
                no posterior.
        """
        return infer(self.pair, self.data.draw(self._alike(x)), **options)

    def complete(self, x: Any = None, num: int = 64, *, seed: int = 0) -> Tensor:
        """Pictures with their upper halves as they are and their lower halves drawn given these, (B, D).

        Of odd height the upper half is the smaller. Other parts: :func:`ppgen.draws.completions`.

        Args:
            x: pictures as the run was trained on them, (B, D), as :meth:`infer` takes them; None: the first ``num`` of
                the test data, or of the last split that there is.
            num: how many, of the run's own data.
            seed: seeds the draws.

        Raises:
            UsageError: the data are no pictures, or of another size than those of training; the pair draws not one
                feature after another, or the lower half not last.
        """
        known = upper_half(self.data.spec)
        batch = take_rows(self.data.shown, slice(num)) if x is None else self.data.draw(self._alike(x))
        return completions(self.pair, batch, known, seed=seed)

    def _alike(self, x: Any) -> Batch:
        """New data as a batch of those that the run was trained on."""
        given, known = as_dataset(x, name="x").train, self.data.train
        shapes, expected = ([(*part.shape[1:],) for part in split] for split in (given, known))
        if shapes != expected:
            raise UsageError(f"expected data of shapes {_rows(expected)}, as those of training, got {_rows(shapes)}.")
        return tuple(part[:].to(like.dtype) for part, like in zip(given, known, strict=True))

    def report(self, path: str | Path | None = None) -> Path:
        """Write the run's page, one HTML file that needs no other, and return where it is.

        Args:
            path: of the page; None: ``report.html`` in the run's directory.

        Raises:
            UsageError: the run has no directory and no path is given, or the place cannot be written.
        """
        return page_of(self, None if path is None else Path(path))

    def keep(self, found: Evaluation | Diagnosis, out: str | Path | None = None) -> None:
        """Write an evaluation or a diagnosis of this run to ``out``, or to its own directory if it has one.

        Raises:
            UsageError: it cannot be written; the numbers are a note of the error, so that they are not lost.
        """
        own = self.directory if self.writes else None
        folder = own if out is None else Path(out)
        if folder is None:
            return
        document = json.dumps(found.to_json(), indent=2)
        try:
            beside = with_card(folder, found) if folder == own else {}
            if isinstance(found, Evaluation):
                write_all({folder / EVALUATION: document.encode(), **beside})
                self.__dict__.pop("evaluation", None)
            else:
                write_all({folder / DIAGNOSIS: document.encode(), **beside})
                self.__dict__.pop("diagnosis", None)
                if not found.not_asked:
                    self._keep_posterior(folder / POSTERIOR, found)
        except UsageError as error:
            error.add_note(document)
            raise

    def keep_so_far(self, found: Diagnosis, out: str | Path | None = None) -> None:
        """As :meth:`keep`, of a diagnosis that goes on: where it cannot be written, the last one will say so."""
        with suppress(UsageError):
            self.keep(found, out)

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """What the last evaluation gave, or None; read once, and again after :meth:`evaluate`.

        Raises:
            UsageError: ``evaluation.json`` is not what an evaluation writes.
        """
        return self._read(EVALUATION, Evaluation, "evaluate again")

    def diagnose(self, out: str | Path | None = None, *, write: bool = True, **options: Any) -> Diagnosis:
        """Is the guide to be believed? See :func:`ppgen.diagnose`; ``diagnosis.json`` in ``out`` keeps the answers.

        Each is written when it is given: what stops a diagnosis takes none of them away.

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
        if write:
            options.setdefault("keep", partial(self.keep_so_far, out=folder))
        result = diagnose(self.pair, self.data, chains=self.chains, **options)
        if write:
            self.keep(result, folder)
        return result

    def _keep_posterior(self, file: Path, result: Diagnosis) -> None:
        with seeded(result.seed):
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
        return self._read(DIAGNOSIS, Diagnosis, "diagnose again")

    @cached_property
    def snapshots(self) -> Snapshots | None:
        """Samples at a few moments of training, or None for a run that was not written; read once."""
        return None if self.directory is None else Snapshots.read(self.directory)

    def _read(self, name: str, kind: type[T], mend: str) -> T | None:
        """The document of that name in the run's directory, if there is one."""
        file = None if self.directory is None else self.directory / name
        return read_document(file, kind, mend) if file is not None and file.is_file() else None


def _rows(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("(N" + "".join(f", {size}" for size in shape) + ")" for shape in shapes)


def _last(line: Mapping[str, Any]) -> str:
    what = "bound" if "bound" in line else "loss"
    return f"{what} {number(line[what])} after {line['step']:,} steps" if what in line else f"{line['step']:,} steps"
