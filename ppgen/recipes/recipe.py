"""What a recipe's file holds."""

from __future__ import annotations

import datetime
from math import floor, log10
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field

from ppgen.arguments import one_of
from ppgen.chains.annealing import Spacing
from ppgen.diagnostics import QUESTIONS
from ppgen.errors import UsageError
from ppgen.files.documents import FORMAT, Error, Seconds, WholeNumber, Written
from ppgen.runs.settings import Settings

__all__ = ["Diagnosed", "Evaluated", "Number", "Published", "Reached", "Recipe", "in_words"]

TENTH = 10
"""A short form has so many times fewer steps, data and draws."""


Number: TypeAlias = float | tuple[float, Error]
"""``-88.1``, or with its error ``[-88.1, 0.2]``."""

Numbers: TypeAlias = Annotated[dict[str, Number], Field(min_length=1)]
"""By name: ``log_likelihood``, any measure of an evaluation (``perplexity``, ``accuracy``, ...), ``train_bound`` and
``valid_bound`` at the end of training, or ``diagnosis_QUESTION``, the number of a finding."""


Split: TypeAlias = Literal["train", "valid", "test"]
AtLeastTwo: TypeAlias = Annotated[int, Field(ge=2)]


class Named(Written):
    """A name of ``ppgen list``, and options of what it names."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


_OF_LOG_Z = ("exact", "num_temperatures", "num_chains", "spacing", "sandwich", "budget")


class Evaluated(Written):
    """Options of an evaluation; the last six of log Z (:func:`ppgen.log_z`)."""

    split: Split | None = None
    particles: Annotated[int, Field(ge=1)] = 1000
    num_data: AtLeastTwo | None = None
    num_samples: WholeNumber | None = None
    labels: bool | None = None
    exact: bool | None = None
    num_temperatures: AtLeastTwo | None = None
    num_chains: AtLeastTwo | None = None
    spacing: Spacing | None = None
    sandwich: bool | None = None
    budget: Annotated[int, Field(ge=1)] | None = None

    @property
    def log_z(self) -> dict[str, Any]:
        """What is asked of log Z."""
        asked = {name: getattr(self, name) for name in _OF_LOG_Z}
        return {name: value for name, value in asked.items() if value is not None}

    def short(self) -> Evaluated:
        """Of a tenth of the particles, temperatures and samples."""
        return self.model_copy(
            update={
                "particles": _tenth(self.particles),
                "num_samples": self.num_samples and _tenth(self.num_samples),
                "budget": self.budget and _tenth(self.budget),
                "num_temperatures": None if self.exact or not self.log_z else _tenth(self.num_temperatures or 10_000),
            }
        )


def _check_question(name: str) -> str:
    one_of("expected the name of a question, got", name, [question.name for question in QUESTIONS])
    return name


class Diagnosed(Written):
    """Options of a diagnosis."""

    split: Split | None = None
    num_data: AtLeastTwo | None = None
    num_particles: AtLeastTwo = 1000
    questions: list[Annotated[str, AfterValidator(_check_question)]] | None = None

    def short(self) -> Diagnosed:
        """Of a tenth of the draws."""
        return self.model_copy(update={"num_particles": max(100, _tenth(self.num_particles))})


class Budget(Written):
    """How long all of it takes, about, and on what."""

    minutes: Annotated[Seconds, Field(gt=0)]
    on: Literal["one core", "two cores", "a GPU"]

    @property
    def words(self) -> str:
        """``1 minute on two cores``."""
        return f"{self.minutes:g} minute{'' if self.minutes == 1 else 's'} on {self.on}"


class Published(Written):
    """Numbers that others reached, who, and how."""

    numbers: Numbers
    source: str
    protocol: str = ""


class Reached(Written):
    """Numbers that came here, when, and on what; ``minutes`` are those of training."""

    numbers: Numbers
    date: datetime.date
    machine: str
    minutes: Seconds | None = None
    seed: WholeNumber = 0
    note: str = ""


class Recipe(Written):
    """How a number is reached.

    Attributes:
        format: of the file.
        summary: what it is, in a line.
        model, data, objective: names, each with options; without an objective what is recommended is taken.
        training: options of :class:`ppgen.training.options.TrainingOptions`.
        evaluation, diagnosis: how the run is looked at.
        budget: of the whole.
        published: what others reached.
        reached: what was reached here, each time.
    """

    format: WholeNumber = FORMAT
    summary: str = ""
    model: Named
    data: Named
    objective: Named | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    evaluation: Evaluated = Evaluated()
    diagnosis: Diagnosed = Diagnosed()
    budget: Budget | None = None
    published: tuple[Published, ...] = ()
    reached: tuple[Reached, ...] = ()

    @property
    def settings(self) -> Settings:
        """Its training."""
        named = {part: getattr(self, part) for part in ("model", "data", "objective")}
        names = {part: one.name for part, one in named.items() if one is not None}
        options = {f"{part}_options": one.options for part, one in named.items() if one is not None}
        return Settings(**names, **options, training=self.training)

    @property
    def numbers(self) -> list[str]:
        """The names of all numbers that it is about, those that were published first."""
        named: list[Numbers] = [one.numbers for one in self.published] + [one.numbers for one in self.reached]
        return list(dict.fromkeys(name for numbers in named for name in numbers))

    def short(self) -> Recipe:
        """The same in a tenth of the time or less, which does not reach the number.

        Raises:
            UsageError: its length is no number.
        """
        lengths = {name: self.training[name] for name in ("steps", "epochs") if self.training.get(name) is not None}
        if not all(isinstance(value, int) for value in lengths.values()):
            raise UsageError(f"the length of a training is a whole number of steps or epochs, got {lengths}.")
        training = {**self.training, **({name: _tenth(value) for name, value in lengths.items()} or {"steps": 100})}
        short = {"training": training, "evaluation": self.evaluation.short(), "diagnosis": self.diagnosis.short()}
        return self.model_copy(update=short)


def in_words(number: Number) -> str:
    """A number with its error, to two digits of the error, or to five digits; to no more than it is known to.

    >>> in_words((-89.1432, 0.2312)), in_words((-126.8, 0.4)), in_words(0.24)
    ('-89.14 ± 0.23', '-126.8 ± 0.4', '0.24')
    """
    value, error = number if isinstance(number, tuple) else (number, 0.0)
    if not error:
        return f"{value:,.5g}" if abs(value) < 1000 else f"{value:,.0f}"
    digits = min(max(0, 1 - floor(log10(error))), max(_decimals(value), _decimals(error)))
    return f"{value:,.{digits}f} ± {error:,.{digits}f}"


def _decimals(value: float) -> int:
    return len(f"{value:.12g}".partition(".")[2])


def _tenth(value: int) -> int:
    return max(1, value // TENTH)
