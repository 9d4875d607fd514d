"""Where things are written: results on standard output, all else on standard error."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ppgen.diagnostics import Diagnosis
from ppgen.evaluation import Evaluation
from ppgen.files.jsonable import plain
from ppgen.machine.progress import say
from ppgen.runs.run import Run

__all__ = [
    "keep",
    "one_line_warnings",
    "print_json",
    "print_table",
    "reader_gone",
    "say",
    "stdout_kept_for",
    "tracebacks_shown",
    "write_any_text",
]


def write_any_text() -> None:
    """Characters that standard output or error cannot encode are written as question marks from here on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def reader_gone() -> int:
    """Nobody reads standard output any more (``| head -1``): what is left goes nowhere; the exit code of a shell."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 128 + signal.SIGPIPE


def print_json(document: Any) -> None:
    """One JSON document; numbers that are not finite, which JSON lacks, are null."""
    print(json.dumps(plain(document), indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; a column whose name starts with ``>`` is aligned to the right. Names, which come first, are not cut."""
    table, rows = Table(), list(rows)
    longest = max((len(word) for row in rows for word in row[0].split()), default=0)
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(column.removeprefix(">"), justify=justify, min_width=None if index else longest)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: brackets are not markup
    Console().print(table)


def keep(run: Run, found: Evaluation | Diagnosis, out: Path | None = None) -> None:
    """Have the run keep what was found, after it was printed: a full disk takes no number away.

    Raises:
        UsageError: it cannot be written.
    """
    if out is None and not run.writes:
        say("these numbers are printed alone: the run keeps those of the parameters that training left in its pair.")
    run.keep(found, out)


@contextmanager
def stdout_kept_for(json_document: bool) -> Iterator[None]:
    """Within it, what anything prints (a model of the user's, say) goes to standard error if JSON is to come."""
    if not json_document:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Within it each warning to users is one line on standard error, once."""
    seen: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        text = " ".join(str(message).split())
        if text not in seen:
            seen.add(text)
            say(f"warning: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


@contextmanager
def tracebacks_shown(wanted: bool) -> Iterator[None]:
    """Within it, where ``wanted``, what ppgen logs goes to standard error: tracebacks of what it went on after."""
    if not wanted:
        yield
        return
    logger, handler = logging.getLogger("ppgen"), logging.StreamHandler()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
