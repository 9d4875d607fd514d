"""What is printed: the tables of times and of checks, and the versions that they come from."""

import os
import platform
import statistics
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby

from contests import Case
from rich.console import Console
from rich.table import Table
from rounds import Row

__all__ = ["agreement", "check_table", "environment", "print_errors", "time_table"]

TOLERANCE = 0.04  # of the loss, see README.md for where it comes from


def environment() -> dict[str, str | int]:
    """Versions and processor, for the JSON and the table's caption."""
    found: dict[str, str | int] = {"python": platform.python_version(), "machine": platform.machine()}
    found["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for package in ("torch", "pyro-ppl", "numpyro", "jax"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def time_table(title: str, rows: list[Row]) -> Table:
    """Medians, ratios, memory and first steps, one section a case."""
    table = Table(title=title, caption=", ".join(f"{k} {v}" for k, v in environment().items()))
    columns = ("batch", "K", "peer", "ms", "best", "ours/peer", "MiB", "first s", "again s")
    for column in columns:
        table.add_column(column, justify="left" if column == "peer" else "right")
    for case, members in by_case(rows):
        for row in members:
            times = (shown(row.median, 2), shown(row.best, 2), shown(row.ratio, 2), shown(row.peak_memory, 0))
            firsts = (shown(row.first_step, 1), shown(row.first_step_again, 1))
            table.add_row(str(case.batch_size), str(case.num_particles), row.peer, *times, *firsts)
        table.add_section()
    return table


def check_table(rows: list[Row]) -> Table:
    """Losses after the check's steps and how far each is from the case's median."""
    table = Table(title="loss after 300 steps (mean of the last 50), nats per datum")
    for column in ("batch", "K", "peer", "loss", "from median", "verdict"):
        table.add_column(column, justify="left" if column == "peer" else "right")
    for case, members in by_case(rows):
        middle = median_loss(members)
        for row in members:
            far = None if row.loss is None or middle is None else row.loss - middle
            verdict = "agrees" if agrees(row, middle) else "DIFFERS"
            cells = (row.peer, shown(row.loss, 2), shown(far, 2), verdict)
            table.add_row(str(case.batch_size), str(case.num_particles), *cells)
        table.add_section()
    return table


def print_errors(console: Console, rows: list[Row]) -> None:
    """One line for every peer that could not be measured, and why."""
    for row in rows:
        if row.error:
            where = f"{row.peer}, batch {row.case.batch_size}, K {row.case.num_particles}"
            console.print(f"{where}: {row.error}", markup=False, highlight=False)


def agreement(rows: list[Row]) -> bool:
    """Whether all peers of every case learned alike; one that failed did not."""
    return all(agrees(row, median_loss(members)) for _, members in by_case(rows) for row in members)


def agrees(row: Row, middle: float | None) -> bool:
    """Whether one loss is within the tolerance of its case's median."""
    return row.loss is not None and middle is not None and abs(row.loss - middle) <= TOLERANCE * middle


def median_loss(rows: list[Row]) -> float | None:
    """Median loss of the peers that ran."""
    losses = [row.loss for row in rows if row.loss is not None]
    return statistics.median(losses) if losses else None


def by_case(rows: list[Row]) -> Iterable[tuple[Case, list[Row]]]:
    """Rows of equal case, in the order in which they were run."""
    for case, members in groupby(rows, key=lambda row: row.case):
        yield case, list(members)


def shown(value: float | None, digits: int) -> str:
    """A number for a cell, a dash for none."""
    return "-" if value is None else f"{value:.{digits}f}"
