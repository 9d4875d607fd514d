"""What a sweep gives: its runs, its cells with their means over seeds, and which is best.

Of a cell with log-likelihoods l_1, ..., l_S, one a seed, the interval is Student's, mean l +- t_{S-1} sd / sqrt(S): of
what chance does in training, on the same data. The best cell b is the one of the largest mean. A cell c is told from it
where Welch's one-sided t-test finds mean l_c < mean l_b. Of m cells each test has level (1 - LEVEL) / (m - 1), so that,
by the union bound, the cell which truly is best is with a probability of at least LEVEL b or one not told from b.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ppgen.errors import option
from ppgen.files.documents import Seconds, WholeNumber
from ppgen.files.jsonable import plain
from ppgen.measuring.statistics import Interval, mean_interval
from ppgen.pages.brief import Brief
from ppgen.pages.numbers import number
from ppgen.sweeps.grid import label_of

__all__ = ["LEVEL", "Cell", "Sweep", "SweepRun"]

LEVEL = 0.95
"""Of intervals."""

_NAMED = 4
"""Cells that a sentence names, at most."""


@dataclass(frozen=True)
class SweepRun:
    """One run.

    Args:
        seed: of its initial parameters and its training.
        folder: where it is, from the sweep's own.
        status: ``"done"``; ``"diverged"``: a number was not finite, as it would be again; ``"failed"``: anything else,
            which is tried again when the sweep goes on; ``"left"``: it has not begun, or was stopped.
        log_likelihood: of the data that judge, in nats per datum.
        standard_error: of that, over data.
        measured: what ``log_likelihood`` is a number of, such as "Valid log-likelihood".
        seconds: of training.
        steps: of training.
        sentence: why it did not come to its end.
        effective_chains: what the chains that log Z was estimated by are worth, where it was.
    """

    seed: int
    folder: str
    status: Literal["done", "diverged", "failed", "left"] = "left"
    log_likelihood: float | None = None
    standard_error: float | None = None
    measured: str = ""
    seconds: Seconds | None = None
    steps: WholeNumber | None = None
    sentence: str = ""
    effective_chains: float | None = None


@dataclass(frozen=True)
class Cell:
    """The runs of one value for each option of the grid, one a seed."""

    options: Mapping[str, Any]
    runs: tuple[SweepRun, ...]

    @property
    def label(self) -> str:
        """The options in words."""
        return label_of(self.options) or "all options"

    @property
    def done(self) -> tuple[SweepRun, ...]:
        """The runs that came to their end."""
        return tuple(run for run in self.runs if run.status == "done")

    @property
    def failed(self) -> tuple[SweepRun, ...]:
        """The runs that did not, and not for want of time."""
        return tuple(run for run in self.runs if run.status in ("diverged", "failed"))

    @property
    def values(self) -> tuple[float, ...]:
        """The log-likelihoods of the runs that are done, nats per datum."""
        return tuple(run.log_likelihood for run in self.runs if run.log_likelihood is not None)

    @property
    def likelihood(self) -> Interval | None:
        """Their mean with its interval, which is the whole line where a single seed is done; None: none is."""
        if len(self.values) < 2:
            return Interval(self.values[0], -math.inf, math.inf) if self.values else None
        return mean_interval(torch.tensor(self.values, dtype=torch.float64), LEVEL)

    @property
    def effective_chains(self) -> float | None:
        """The fewest that a log Z of these runs rests on; None: none was estimated."""
        return min((run.effective_chains for run in self.done if run.effective_chains is not None), default=None)

    @property
    def seconds(self) -> float | None:
        """Of training, the mean over the runs that are done."""
        each = [run.seconds for run in self.done if run.seconds is not None]
        return statistics.fmean(each) if each else None


@dataclass(frozen=True, repr=False)
class Sweep(Brief):
    """The result of :func:`ppgen.sweep`.

    Args:
        cells: of the grid.
        plan: what was asked for, in JSON's terms.
        directory: where the runs are, ``sweep.json`` and ``sweep.html``.
    """

    cells: tuple[Cell, ...]
    plan: Mapping[str, Any]
    directory: Path

    def brief(self) -> tuple[str, list[tuple[str, ...]]]:
        """How many runs are done, and the cells with their means, the best first."""
        best = "none is done" if self.best is None else f"best {self.best.label}"
        rows: list[tuple[str, ...]] = [
            (cell.label, f"{len(cell.done)} of {len(cell.runs)} done", _mean(cell)) for cell in self.ranked
        ]
        return f"Sweep of {len(self.runs)} runs in {self.directory}: {self.num_done} done, {best}", rows

    @property
    def runs(self) -> tuple[SweepRun, ...]:
        """Of all cells."""
        return tuple(run for cell in self.cells for run in cell.runs)

    @property
    def num_done(self) -> int:
        """How many runs came to their end."""
        return sum(run.status == "done" for run in self.runs)

    @property
    def left(self) -> tuple[SweepRun, ...]:
        """The runs that have not begun, or were stopped."""
        return tuple(run for run in self.runs if run.status == "left")

    @property
    def ranked(self) -> tuple[Cell, ...]:
        """The cells, the best first: by their means, those with a run that diverged after all others, and last those of
        which nothing is done."""
        return tuple(sorted(self.cells, key=_rank))

    @property
    def best(self) -> Cell | None:
        """The first of :attr:`ranked`, if any of its runs is done."""
        return next((cell for cell in self.ranked if cell.values), None)

    @property
    def as_good(self) -> tuple[Cell, ...]:
        """The other cells that are not told from the best; without a second seed none can be told from it."""
        others = [cell for cell in self.ranked if cell.values and cell is not self.best]
        level = (1 - LEVEL) / max(1, len(others))
        return tuple(cell for cell in others if self.best is None or _p_value(cell.values, self.best.values) > level)

    @property
    def measured(self) -> str:
        """What the log-likelihoods are numbers of."""
        return next((run.measured for run in self.runs if run.measured), "log-likelihood")

    def rows(self) -> list[dict[str, Any]]:
        """One flat row for each run, for a data frame."""
        return [{**cell.options, **asdict(run)} for cell in self.cells for run in cell.runs]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of everything, with ``best``, ``as_good`` and ``words``; numbers not finite are None."""
        cells = [{**asdict(cell), "likelihood": _ends(cell.likelihood), "seconds": cell.seconds} for cell in self.cells]
        found: dict[str, Any] = plain(
            {
                "plan": self.plan,
                "cells": cells,
                "best": None if self.best is None else self.best.options,
                "as_good": [cell.options for cell in self.as_good],
                "words": self.words(),
            }
        )
        return found

    def words(self) -> str:
        """Which cell is best, which are not told from it, and what is missing."""
        return " ".join([self.verdict, *self.missing])

    @property
    def verdict(self) -> str:
        """Which cell is best, and which are not told from it."""
        return " ".join(self._of_the_best())

    @property
    def missing(self) -> list[str]:
        """A sentence on the runs that failed and one on those that are left, where there are some."""
        failed = [f"{cell.label}, seed {run.seed}: {run.sentence}" for cell in self.cells for run in cell.failed]
        said = [f"{len(failed)} of {len(self.runs)} runs failed. The first of them is {failed[0]}"] if failed else []
        num_left = len(self.left)
        left = f"{num_left} of {len(self.runs)} runs are left: go on with {option('resume', True)}."
        return [*said, *([left] if num_left else [])]

    def _of_the_best(self) -> list[str]:
        best = self.best
        if best is None or best.likelihood is None:
            return ["No run is done."]
        found, seeds = best.likelihood, len(best.values)
        value = f"{self.measured} {number(found.value)} nats per datum"
        if seeds == 1:
            chance = "What chance does is not known from one seed: --seeds 3."
            return [f"Best: {best.label}. {value}.", *([chance] if len(self.cells) > 1 else [])]
        ends = f"{number(found.low)} to {number(found.high)}"
        said = f"Best: {best.label}. {value}, {ends} at {LEVEL:.0%} over {seeds} seeds."
        if self.as_good:
            return [said, f"Not told from it: {_listed([cell.label for cell in self.as_good])}."]
        return [said, "All others are below it by more than chance."] if len(self.cells) > 1 else [said]


def _rank(cell: Cell) -> tuple[bool, bool, float]:
    diverged = any(run.status == "diverged" for run in cell.runs)
    return not cell.values, diverged, -statistics.fmean(cell.values or (0.0,))


def _p_value(values: tuple[float, ...], best: tuple[float, ...]) -> float:
    """Of Welch's test that the mean of ``values`` is not below that of ``best``."""
    from scipy.special import stdtr

    if min(len(values), len(best)) < 2:
        return 1.0
    below = statistics.fmean(best) - statistics.fmean(values)
    squares = [statistics.variance(each) / len(each) for each in (values, best)]
    if sum(squares) == 0:
        return float(below <= 0)
    df = sum(squares) ** 2 / sum(s**2 / (len(each) - 1) for s, each in zip(squares, (values, best), strict=True))
    return float(stdtr(df, -below / math.sqrt(sum(squares))))


def _ends(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)


def _listed(texts: list[str]) -> str:
    more = f"; {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return "; ".join(texts[:_NAMED]) + more


def _mean(cell: Cell) -> str:
    return "" if cell.likelihood is None else f"{number(cell.likelihood.value)} nats"
