"""What the choice of an estimator means for training: validation bounds against steps and seconds, over seeds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

from ppgen.chains.evidence import evidence_bounds
from ppgen.comparison.labels import bound_name
from ppgen.data import Dataset
from ppgen.errors import DivergedError, LostWorkerError
from ppgen.evaluation import evaluate
from ppgen.machine.devices import choose_device
from ppgen.machine.progress import bar
from ppgen.machine.workers import Engine, Here, each
from ppgen.objectives.bounds import target_of
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.runs.fit import fit
from ppgen.training.metrics import evened
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__ = ["Curves", "train_each"]

_POINTS = 25
"""Validations of one training, where its options do not say how many."""

_WARM_UP, _TRIAL = 20, 200
"""Turns of a trial training before and while it is timed: the first ones compile."""

_NUM_DATA = 1000
"""Validation data, at most, of which log p(x) is estimated after training."""

_NUM_ANNEALED = 100
"""The same where it is estimated by annealing."""


@dataclass(frozen=True)
class Curves:
    """Trainings of one pair by one objective, one a seed.

    Args:
        label: of the objective.
        bound_name: the bound whose value the curve is; None: no bound of log-weights, such as a relaxed objective.
        steps: of the validations, T of them; as many as the shortest training has.
        seconds: elapsed at each without those of compiling, one row a seed, (S, T).
        bounds: the objective's own bound on the validation data, nats per datum, (S, T); empty where it has none.
        training_bounds: the same on the training data: its mean over the steps since the validation before; of few last
            steps, with those before (:func:`ppgen.training.metrics.evened`).
        likelihoods: the mean log p(x) of the validation data after training, estimated by the bound of ``particles``
            particles, nats per datum, one a seed: the one number that means the same for every objective.
        particles: see ``likelihoods``; None: estimated by annealing from the prior, which asks nothing of the guide.
        failures: the sentence of each seed whose training stopped at an error.
    """

    label: str
    bound_name: str | None
    steps: tuple[int, ...]
    seconds: tuple[tuple[float, ...], ...]
    bounds: tuple[tuple[float, ...], ...]
    training_bounds: tuple[tuple[float, ...], ...]
    likelihoods: tuple[float, ...]
    particles: int | None
    failures: tuple[str, ...] = ()

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean over seeds of the bound at each validation, (T,)."""
        return tuple(statistics.fmean(values) for values in zip(*self.bounds, strict=True))

    @property
    def band(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The least and the greatest over seeds at each validation, (T,) each."""
        columns = list(zip(*self.bounds, strict=True))
        return tuple(map(min, columns)), tuple(map(max, columns))

    @property
    def mean_seconds(self) -> tuple[float, ...]:
        """The mean over seeds of the seconds at each validation, (T,)."""
        return tuple(statistics.fmean(values) for values in zip(*self.seconds, strict=True))

    @property
    def last_bounds(self) -> tuple[float, float] | None:
        """Means over seeds of the last bound on the training and on the validation data; None where it has none."""
        if not self.bounds:
            return None
        ends = ([row[-1] for row in values] for values in (self.training_bounds, self.bounds))
        train, valid = map(statistics.fmean, ends)
        return train, valid

    @property
    def likelihood(self) -> float | None:
        """The mean over seeds of :attr:`likelihoods`; None where no training came to its end."""
        return statistics.fmean(self.likelihoods) if self.likelihoods else None

    def rows(self) -> Iterator[dict[str, Any]]:
        """One flat row for each seed and validation, for a CSV file; its bounds are None where it has none."""
        none = ((None,) * len(self.steps),) * len(self.seconds)
        each = zip(self.seconds, self.training_bounds or none, self.bounds or none, strict=True)
        for seed, columns in enumerate(each):
            for step, seconds, train, valid in zip(self.steps, *columns, strict=True):
                place = {"objective": self.label, "seed": seed, "step": step, "seconds": seconds}
                yield {**place, "train_bound": train, "valid_bound": valid}


def train_each(
    make: Callable[[int], Pair],
    data: Dataset,
    objectives: Mapping[str, Any],
    training: TrainingOptions,
    *,
    seeds: int = 3,
    seconds: float | None = None,
    particles: int = 200,
    device: str = "auto",
    progress: bool = False,
    engine: Engine | None = None,
) -> tuple[Curves, ...]:
    """Train a fresh pair by each objective that ppgen trains with, once for each seed, by :func:`ppgen.fit`.

    Args:
        make: the pair of a seed.
        data: to train and validate on.
        objectives: by label; Pyro's own are left out.
        training: options of ``fit``; its seed is the first of the seeds.
        seeds: how many.
        seconds: let each objective train so long, in as many steps as a trial of 200 says will take it; None: all take
            the steps of ``training``.
        particles: of the bound that estimates log p(x) at the end; where some objective does not train the guide, that
            bound says nothing, and all are annealed instead (:func:`ppgen.chains.evidence.evidence_bounds`).
        device: where to train.
        progress: show progress bars.
        engine: where the trainings run, some at a time; None: here, one after another. Elsewhere all that is given must
            be picklable, and of a comparison in seconds the trials run beside each other as the trainings do.

    A training whose numbers cease to be finite, or whose worker is killed, is reported among the failures, and the
    others go on.

    Raises:
        UsageError: nothing is held out for validation; whatever else stops a training, which would stop all.
    """
    data.split("valid")
    engine = engine or Here()
    here = isinstance(engine, Here)
    known = {label: one for label, one in objectives.items() if isinstance(one, Objective)}
    of_guide = particles if all(one.trains_guide for one in known.values()) else None
    school = _School(make, data, known, training, seconds, of_guide, device, progress and here)
    trained: dict[tuple[str, int], _Training] = {}
    with engine, bar(progress and not here) as shown:
        lengths = {label: answer.take() for label, answer in each(engine, school.length, known)}
        task = shown.add_task("trainings", total=len(known) * seeds, note="")
        for job, answer in each(engine, partial(school.train, lengths), product(known, range(seeds))):
            lost = isinstance(answer.error, LostWorkerError)
            trained[job] = _Training((), failure=str(answer.error)) if lost else answer.take()
            shown.advance(task)
    return tuple(
        _curves(label, one, [trained[label, index] for index in range(seeds)], of_guide) for label, one in known.items()
    )


@dataclass(frozen=True)
class _School:
    """What all trainings share; see :func:`train_each`."""

    make: Callable[[int], Pair]
    data: Dataset
    objectives: Mapping[str, Objective]
    training: TrainingOptions
    seconds: float | None
    particles: int | None
    device: str
    progress: bool

    def length(self, label: str) -> TrainingOptions:
        """The options of an objective's trainings, with as many steps as they are to take."""
        options, objective = self.training, self.objectives[label]
        if self.seconds is not None:
            options = _lasting(self.seconds, self.make, self.data, objective, options, self.device)
        if options.validate_every is None and options.steps is not None:
            options = replace(options, validate_every=math.ceil(options.steps / _POINTS))
        return options

    def train(self, lengths: Mapping[str, TrainingOptions], job: tuple[str, int]) -> _Training:
        """The training of a label and the index of a seed, with the options of that label."""
        label, index = job
        options = replace(lengths[label], seed=self.training.seed + index)
        objective = self.objectives[label]
        return _train(self.make, self.data, objective, options, self.particles, self.device, self.progress)


def _lasting(
    seconds: float,
    make: Callable[[int], Pair],
    data: Dataset,
    objective: Objective,
    training: TrainingOptions,
    device: str,
) -> TrainingOptions:
    """The options with as many steps as take so long, validations included, by the clock of a trial."""
    place = choose_device(device)
    try:
        trainer = Trainer(make(training.seed).to(place), data.to(place), objective, training)
        _clock(trainer, trainer.take_turn, _WARM_UP)
        turn, validation = _clock(trainer, trainer.take_turn, _TRIAL), _clock(trainer, trainer.validate, 1)
    except DivergedError:  # the training itself will meet it, and that is where it is reported
        return training
    return replace(training, steps=max(1, int((seconds - _POINTS * validation) / turn)))


def _clock(trainer: Trainer, function: Callable[[], Any], times: int) -> float:
    """Mean seconds of a call."""
    start = time.perf_counter()
    for _ in range(times):
        function()
    trainer.settle()
    return (time.perf_counter() - start) / times


@dataclass(frozen=True)
class _Training:
    """One training: its validations, where its log p(x) ended, or why it did not."""

    lines: Sequence[Mapping[str, Any]]
    likelihood: float | None = None
    failure: str = ""


def _train(
    make: Callable[[int], Pair],
    data: Dataset,
    objective: Objective,
    options: TrainingOptions,
    particles: int | None,
    device: str,
    progress: bool,
) -> _Training:
    pair = make(options.seed)
    try:
        run = fit(pair, data, objective, device=device, progress=progress, training=options)
    except DivergedError as error:  # what the estimator does here is the answer
        return _Training((), failure=str(error))
    train, valid = ([line for line in run.metrics if line["split"] == split] for split in ("train", "valid"))
    train = evened(train)
    lines = [
        {**now, "train_bound": before["bound"]} if "bound" in before else now
        for before, now in zip(train, valid, strict=True)
    ]
    return _Training(lines, _log_likelihood(run.pair, run.data, particles))


def _log_likelihood(pair: Pair, data: Dataset, particles: int | None) -> float:
    """The mean log p(x) of the first validation data, nats, from below; without ``particles``, by annealing."""
    num_data = min(_NUM_DATA if particles else _NUM_ANNEALED, data.size("valid"))
    if particles is None:
        batch = data.draw(data.rows("valid", slice(num_data)))
        return float(evidence_bounds(pair, batch, num_simulated=1).lower.mean())
    options: dict[str, Any] = {"particles": particles, "num_data": num_data, "num_samples": 0, "progress": False}
    return evaluate(pair, data, split="valid", **options).log_likelihood


def _curves(label: str, objective: Objective, trainings: Sequence[_Training], particles: int | None) -> Curves:
    ended = [one for one in trainings if not one.failure]
    steps = tuple(line["step"] for line in min((one.lines for one in ended), key=len, default=()))

    def column(name: str) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(line[name] for line in one.lines[: len(steps)]) for one in ended if name in one.lines[0])

    target = target_of(objective.at(steps[-1] if steps else 0)) if objective.is_bound else None
    return Curves(
        label,
        bound_name(target),
        steps,
        column("seconds"),
        column("bound"),
        column("train_bound"),
        tuple(one.likelihood for one in ended if one.likelihood is not None),
        particles,
        tuple(one.failure for one in trainings if one.failure),
    )
