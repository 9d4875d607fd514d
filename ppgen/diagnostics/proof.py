"""What the lights are worth: how often each question finds a fault of known size, and how often it cries for none.

Faults are planted in pairs whose truth is known (:mod:`ppgen.testing.planted`), and the pairs diagnosed; so are as many
sound ones. ``make proof`` does it and keeps every trial in ``proof.json`` beside this file; the tables are made of it.
A fault's *cost* is 1 where it takes 0.2 nats or 0.3 standard deviations of a posterior, the larger of both counts. A
fault is found by a question whose light is yellow or red; a sound pair's red light is a false alarm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ppgen.diagnostics.questions.every import QUESTIONS

__all__ = ["ANY", "Line", "Trial", "by_fault", "by_question", "compared", "goal", "keep", "kept", "lines", "proof_of"]

FILE = Path(__file__).with_name("proof.json")

ANY = "any question"
MATTERS = 1.0
"""The cost from which a fault matters."""

BINS = ((0.5, 1.0), (1.0, 2.0), (2.0, 5.0), (5.0, math.inf))
"""Costs by which rates of detection are told apart."""

_NINE_TENTHS, _FEWEST = 0.9, 10

COLUMNS = (
    "question",
    "sound pairs",
    "red",
    "yellow",
    "faults of",
    *(f"found, {low:g} to {high:g}" if high < math.inf else f"found, {low:g} and more" for low, high in BINS),
    "nine in ten from",
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A fault and what was said of it.

    ``kind``: ``sound``, or of what the fault is: ``guide``, ``model`` or ``chain``; ``nats`` and ``deviations``: its
    sizes, and ``cost`` the larger of both in units of their limits; ``answers``: the status of each question that
    arose; ``seconds`` of the processor.
    """

    family: str
    fault: str
    kind: str
    seed: int
    nats: float
    deviations: float
    cost: float
    answers: dict[str, str]
    seconds: float

    @property
    def matters(self) -> bool:
        """Whether it costs more than 0.2 nats or 0.3 standard deviations."""
        return self.cost > MATTERS

    def said(self, question: str, *statuses: str) -> bool:
        """Whether the question's status, or that of any, is one of these."""
        if question == ANY:
            return any(status in statuses for status in self.answers.values())
        return self.answers.get(question) in statuses

    def found(self, question: str = ANY) -> bool:
        """Whether the light is yellow or red."""
        return self.said(question, "warn", "bad")

    def to_json(self) -> dict[str, Any]:
        """A row of the file."""
        return {**asdict(self), **{name: round(getattr(self, name), 4) for name in ("nats", "deviations", "cost")}}


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one question is worth: of how many sound pairs it was asked, red and yellow lights among these; by bin of
    cost how many faults of ``kind`` there were and how many it found; and the least cost from which on it found nine of
    ten, None where it did of no ten."""

    question: str
    sound: int
    red: int
    yellow: int
    kind: str
    bins: tuple[tuple[int, int], ...]
    nine_tenths: float | None

    def cells(self) -> list[str]:
        """As a row of the table."""
        shares = [f"{found} of {of}" if of else "" for found, of in self.bins]
        least = "" if self.nine_tenths is None else f"{self.nine_tenths:.2g}"
        return [self.question, str(self.sound), str(self.red), str(self.yellow), self.kind, *shares, least]


def kept(file: Path = FILE) -> dict[str, Any]:
    """What the last proof wrote: ``trials``, rows of :class:`Trial`, ``compare`` and ``run``, on what it ran."""
    if not file.exists():
        return {"trials": [], "compare": [], "run": {}}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def keep(document: dict[str, Any], file: Path = FILE) -> None:
    """Write the file, a trial a line."""
    rows = {name: [json.dumps(row) for row in document[name]] for name in ("trials", "compare")}
    parts = [f'"run": {json.dumps(document["run"])}']
    parts += [f'"{name}": [\n' + ",\n".join(each) + "\n]" for name, each in rows.items()]
    file.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def lines(trials: Sequence[Trial]) -> list[Line]:
    """A line for each question that was asked, in their order, with the kind of fault that it finds most of; the last
    one is for all of them together."""
    asked = [question.name for question in QUESTIONS if any(question.name in one.answers for one in trials)]
    return [_line(trials, name) for name in [*asked, *([ANY] if asked else [])]]


@lru_cache(maxsize=1)
def proof_of() -> dict[str, Line]:
    """The line of each question, by name, from the last proof that was kept."""
    return {line.question: line for line in lines([Trial(**row) for row in kept()["trials"]])}


def goal(trials: Sequence[Trial]) -> str:
    """What the goal asks, in two sentences, with exact intervals of 95 %."""
    faults = [one for one in trials if one.kind != "sound" and one.matters]
    sound = [one for one in trials if one.kind == "sound"]
    found, red = sum(one.found() for one in faults), sum(one.said(ANY, "bad") for one in sound)
    yellow = sum(one.found() for one in sound) - red
    return (
        f"Of {len(faults)} faults that cost more than 0.2 nats or 0.3 standard deviations at least one question found "
        f"{_share(found, len(faults))}. Of {len(sound)} sound pairs a light was red in {_share(red, len(sound))}, and "
        f"yellow at worst in {_share(yellow, len(sound))}."
    )


def by_question(trials: Sequence[Trial] | None = None) -> str:
    """The goal, which questions were not asked, and the lines, as Markdown."""
    chosen = _kept_trials() if trials is None else trials
    rows = [_linked(line) for line in lines(chosen)]
    return f"{goal(chosen)}{_unasked(chosen)}\n\n{_table(COLUMNS, rows)}" if chosen else "No proof was run yet.\n"


def by_fault(trials: Sequence[Trial] | None = None) -> str:
    """A Markdown table of the faults: how many that matter, how many of them found, the dearest missed, by whom."""
    chosen = _kept_trials() if trials is None else trials
    head = ("pair", "fault", "planted", "that matter", "found", "dearest missed", "found by")
    faults = dict.fromkeys((one.family, one.fault) for one in chosen if one.kind != "sound")
    return _table(head, [_of_fault(chosen, *each) for each in faults])


def compared(rows: Sequence[dict[str, Any]] | None = None) -> str:
    """A Markdown table of the verdicts of ``compare`` on estimators with a mistake, and on those without it."""
    chosen = kept()["compare"] if rows is None else rows
    head = ("estimator", "mistake", "found biased", "the sound one called biased")
    cells = [[f"`{one['sound']}`", f"`{one['wrong']}`", _of(one, "found"), _of(one, "alarms")] for one in chosen]
    return _table(head, cells)


def _of(row: dict[str, Any], what: str) -> str:
    return f"{row[what]} of {row['runs']}" if row["runs"] else "not tested: there is no exact gradient"


def _kept_trials() -> list[Trial]:
    return [Trial(**row) for row in kept()["trials"]]


def _line(trials: Sequence[Trial], question: str) -> Line:
    asked = [one for one in trials if question == ANY or question in one.answers]
    sound, wrong = ([one for one in asked if (one.kind == "sound") is is_sound] for is_sound in (True, False))
    kinds = dict.fromkeys(one.kind for one in wrong)
    kind = max(kinds, key=lambda kind: _rate(wrong, question, kind), default="") if question != ANY else "all"
    of_kind = [one for one in wrong if kind in (one.kind, "all")]
    red = sum(one.said(question, "bad") for one in sound)
    return Line(
        question=question,
        sound=len(sound),
        red=red,
        yellow=sum(one.found(question) for one in sound) - red,
        kind=kind,
        bins=tuple(_in_bin(of_kind, question, *ends) for ends in BINS),
        nine_tenths=_least(of_kind, question),
    )


def _rate(trials: Iterable[Trial], question: str, kind: str) -> float:
    found = [one.found(question) for one in trials if one.kind == kind and one.matters]
    return sum(found) / len(found) if found else 0.0


def _in_bin(trials: Iterable[Trial], question: str, low: float, high: float) -> tuple[int, int]:
    inside = [one.found(question) for one in trials if low < one.cost <= high]
    return sum(inside), len(inside)


def _least(trials: Iterable[Trial], question: str) -> float | None:
    """The least cost c so that of the faults of cost c and more, ten at least, nine of ten are found."""
    ordered = sorted(trials, key=lambda one: -one.cost)
    found, least = 0, None
    for number, one in enumerate(ordered, 1):
        found += one.found(question)
        if one.found(question) and number >= _FEWEST and found >= _NINE_TENTHS * number:
            least = one.cost
    return least


def _of_fault(trials: Sequence[Trial], family: str, fault: str) -> list[str]:
    every = [one for one in trials if (one.family, one.fault) == (family, fault)]
    dear = [one for one in every if one.matters]
    missed = max((one.cost for one in dear if not one.found()), default=0.0)
    names = [question.name for question in QUESTIONS]
    counts = {name: sum(one.found(name) for one in dear) for name in names}
    by = ", ".join(f"`{name}` {counts[name]}" for name in sorted(names, key=lambda name: -counts[name]) if counts[name])
    found = sum(one.found() for one in dear)
    return [family, fault, str(len(every)), str(len(dear)), str(found), f"{missed:.2g}" if missed else "", by]


def _linked(line: Line) -> list[str]:
    """The cells, the first of them an anchor."""
    name, *others = line.cells()
    return [name if name == ANY else f'<a id="proof-{name}"></a>`{name}`', *others]


def _unasked(trials: Sequence[Trial]) -> str:
    """Which questions no trial says anything of."""
    names = [f"`{one.name}`" for one in QUESTIONS if not any(one.name in trial.answers for trial in trials)]
    return f" Not asked in the run that is kept, or by no pair of it: {', '.join(names)}." if names else ""


def _share(count: int, of: int) -> str:
    from scipy.stats import binomtest

    if not of:
        return "none"
    ends = binomtest(count, of).proportion_ci()
    return f"{count} ({count / of:.1%}; {ends.low:.1%} to {ends.high:.1%})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    every = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in every)
