"""The record of a training: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from ppgen.errors import UsageError, option
from ppgen.files.documents import Document, Seconds, WholeNumber, parse_document, read_bytes

__all__ = ["Line", "MetricsLog", "evened", "read_metrics", "score"]

_MEND = "restore it, or train again"


class Line(Document):
    """One report; the other keys are what was measured."""

    __pydantic_extra__: dict[str, float]

    step: WholeNumber
    epoch: float
    seconds: Seconds
    split: Literal["train", "valid", "choice"]
    stage: str = ""
    """Of a training of several stages: its name."""
    played: str = ""
    """Of a choice among estimators: the one that is played from this step on."""


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``, none where there is no file; a last line that a kill cut is left out.

    Raises:
        UsageError: a line is not what training writes.
    """
    *lines, last = read_bytes(file, _MEND).split(b"\n") if file.is_file() else [b""]
    is_cut = last.startswith(b"{") and not last.endswith(b"}")
    return _parsed(lines if is_cut or not last else [*lines, last], file)


def _parsed(lines: list[bytes], file: Path) -> list[dict[str, Any]]:
    return [
        parse_document(line, Line, f"line {number} of {file}", _MEND).model_dump(exclude_unset=True)
        for number, line in enumerate(lines, start=1)
    ]


def score(report: Mapping[str, float]) -> float:
    """The number a validation is judged by, more is better: the bound, or minus the loss where there is none."""
    return report["bound"] if "bound" in report else -report["loss"]


def evened(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Training reports, each a mean over the steps since the one before.

    A last one over fewer than half as many steps as the one before it, as where training ends between two validations,
    is taken over the steps of both.

    >>> evened([{"step": 100, "loss": 3.0}, {"step": 200, "loss": 2.0}, {"step": 210, "loss": 13.0}])[-1]
    {'step': 210, 'loss': 3.0}
    """
    steps = [0, *(report["step"] for report in reports)]
    widths = [now - before for before, now in pairwise(steps)]
    if len(reports) < 2 or 2 * widths[-1] >= widths[-2]:
        return list(reports)
    share, (before, last) = widths[-1] / (widths[-1] + widths[-2]), reports[-2:]
    measured = last.keys() & before.keys() - {*Line.model_fields, "learning_rate"}
    return [*reports[:-1], last | {name: share * last[name] + (1 - share) * before[name] for name in measured}]


class MetricsLog:
    """Lines kept in memory and, with a path, appended to a file."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.size = 0
        """Length in bytes of what has been written."""

    def add(self, line: dict[str, Any]) -> None:
        """Append one line.

        Raises:
            UsageError: the file cannot be written (a full disk); what was there stays.
        """
        self.lines.append(line)
        if self.path is None:
            return
        text = (json.dumps(line) + "\n").encode()
        try:
            with self.path.open("r+b" if self.path.exists() else "wb") as file:
                file.truncate(self.size)
                file.seek(self.size)
                file.write(text)
        except OSError as error:
            raise UsageError(
                f"cannot write {self.path}: {error.strerror}; the last checkpoint is whole: make room and go on "
                f"with {option('resume', True)}."
            ) from error
        self.size += len(text)

    def restore(self, size: int, whole: int) -> None:
        """Take up an existing file, of which the first ``size`` bytes count; the next line takes the place of the rest.

        Args:
            size: that count.
            whole: bytes that there must be.

        Raises:
            UsageError: the file is shorter than that, or is not what training writes.
        """
        whole = max(size, whole)
        if self.path is None or whole == 0:
            return
        data = read_bytes(self.path, _MEND) if self.path.exists() else b""
        if len(data) < whole:
            raise UsageError(
                f"{self.path} has {len(data)} bytes, the checkpoint knows {whole}: it was cut; restore it."
            )
        (*lines, rest), (*_, left) = (data[:end].split(b"\n") for end in (size, whole))
        if rest or left:
            raise UsageError(f"{self.path} is not the record that its checkpoint knows: it was edited; {_MEND}.")
        _parsed(data[size:whole].splitlines(), self.path)
        self.lines, self.size = _parsed(lines, self.path), size
