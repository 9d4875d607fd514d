"""The report of a run: one HTML page that needs no other file and loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppgen.checkpoint import write_whole
from ppgen.errors import UsageError
from ppgen.metrics import score
from ppgen.sections import (
    Section,
    configuration,
    likelihood,
    name_of,
    name_of_value,
    number,
    reconstruction,
    samples,
    texts,
    training,
    traversal,
    versions,
)
from ppgen.sections_energy import chains, energies, filters, normaliser

if TYPE_CHECKING:
    from ppgen.runs import Run

__all__ = ["REPORT", "SECTIONS", "Headline", "headline", "write_report"]

REPORT = "report.html"

SECTIONS: list[Callable[[Run], Section | None]] = [
    training,
    likelihood,
    normaliser,
    reconstruction,
    samples,
    chains,
    energies,
    filters,
    traversal,
    configuration,
    versions,
]
"""The page from top to bottom. To add a section: write a function of the run, and put it where it belongs."""


@dataclass(frozen=True)
class Headline:
    """What stands first: a number, what it is, and what there is to know about it."""

    what: str
    value: str
    error: str
    notes: tuple[str, ...]


def headline(run: Run) -> Headline:
    """The test log-likelihood; where there is none, the last validation value and how to come by the former.

    A report evaluates nothing itself, so that the number on the page is the one that ``ppgen evaluate`` printed.
    """
    found = run.evaluation
    if found is None:
        bounds = [score(line) for line in run.metrics if line["split"] == "valid"]
        command = f"ppgen evaluate {run.directory or 'RUN'}"
        advice = f"The run has not been evaluated: {command} gives its test log-likelihood, then write this page again."
        value = number(bounds[-1]) if bounds else "none yet"
        return Headline(f"Last validation {name_of_value(run)}", value, "", (advice,))
    K, num_data = found["num_particles"], found["num_data"]
    error_of = f"one standard error over {num_data:,} {found['split']} data"
    if found.get("log_z") is None:
        notes = [f"bound of K = {K:,} particles, {error_of}"]
    else:
        notes = [f"less log Z = {number(found['log_z']['value'])}, {error_of} and of log Z"]
    if found["bits_per_dim"] is not None:
        notes.append(f"{number(found['bits_per_dim'], 3)} bits per dimension")
    value, error = number(found["log_likelihood"]), number(found["standard_error"])
    return Headline(f"{found['split'].capitalize()} log-likelihood", value, error, tuple(notes))


def write_report(run: Run, path: Path | None = None) -> Path:
    """Write the report of ``run`` and return where it is. The run, its pair and the random state stay as they are.

    Args:
        run: trained, or loaded from its directory.
        path: of the page; None: ``report.html`` in the run's directory.

    Raises:
        UsageError: the run has no directory and no path is given, or the place cannot be written.
    """
    target = path or (run.directory and run.directory / REPORT)
    if target is None:
        raise UsageError("this run has no directory for its report: fit with out=..., or give write_report a path.")
    write_whole(target, render(run).encode())
    return target


def render(run: Run) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("ppgen"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    sections = [made for section in SECTIONS if (made := section(run)) is not None]
    config = run.config
    return pages.get_template("report.html").render(
        model=name_of(config["model"]),
        data=run.data.spec.name,
        objective=name_of(config["objective"]),
        options=texts(config["objective"]["options"]),
        headline=headline(run),
        sections=sections,
    )
