"""The report of a run: one HTML page that needs no other file and loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppgen.diagnostics.result import WORDS
from ppgen.errors import UsageError
from ppgen.files.writing import write_whole
from ppgen.pages import templates as pages
from ppgen.pages.elements import Section, name_of, texts
from ppgen.pages.numbers import number, plus_minus
from ppgen.report.calibration import calibration_ranks, evidence_bounds, inference_gaps, reference_marginals
from ppgen.report.configuration import configuration, versions
from ppgen.report.density import density_in_the_plane
from ppgen.report.diagnosis import aggregated_posterior, chain_energies, importance_weights, latent_units, verdict
from ppgen.report.energy import (
    free_energies,
    log_normaliser,
    markov_chains,
    recalled_patterns,
)
from ppgen.report.evaluation import likelihood, measures
from ppgen.report.filters import filters
from ppgen.report.globals import global_refits, global_weights
from ppgen.report.latents import code_traversals, interpolations, manifold, traversals
from ppgen.report.parts import name_of_value
from ppgen.report.predictive import leave_one_out, posterior_checks, prior_checks
from ppgen.report.retrieval import nearest_neighbours, precision_and_recall
from ppgen.report.samples import completed_pictures, reconstructed_data, samples, samples_over_training, translations
from ppgen.report.topics import topics
from ppgen.report.training import training
from ppgen.report.trends import trends
from ppgen.runs.config import chosen
from ppgen.runs.page import REPORT, writes_pages
from ppgen.training.metrics import score

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["REPORT", "SECTIONS", "Headline", "headline", "write_report"]

_ERROR = "± is one standard error."

SECTIONS: list[Callable[[Run], Section | None]] = [
    free_energies,
    training,
    likelihood,
    log_normaliser,
    measures,
    precision_and_recall,
    verdict,
    importance_weights,
    global_weights,
    global_refits,
    inference_gaps,
    evidence_bounds,
    calibration_ranks,
    reference_marginals,
    latent_units,
    aggregated_posterior,
    chain_energies,
    posterior_checks,
    prior_checks,
    leave_one_out,
    topics,
    trends,
    translations,
    reconstructed_data,
    nearest_neighbours,
    density_in_the_plane,
    samples,
    completed_pictures,
    samples_over_training,
    recalled_patterns,
    markov_chains,
    filters,
    manifold,
    traversals,
    code_traversals,
    interpolations,
    configuration,
    versions,
]
"""The page from top to bottom, those of a group beside each other. To add a section: write a function of the run, and
put it where it belongs."""


@dataclass(frozen=True)
class Headline:
    """What stands first: a number with its error and unit, what it is, and what there is to know about it."""

    what: str
    value: str
    error: str
    notes: tuple[str, ...]
    unit: str = "nats per datum"


def headline(run: Run) -> Headline:
    """The test log-likelihood; where there is none, the last validation value and how to find the former.

    A report evaluates nothing itself, so that the number on the page is the one that ``ppgen evaluate`` printed.
    """
    found = run.evaluation
    if found is None:
        return _unevaluated(run)
    return Headline(found.title, *plus_minus(found.log_likelihood, found.standard_error), (found.sentence, _ERROR))


def _unevaluated(run: Run) -> Headline:
    """The last validation value, where it is a measure of fit, and the command that gives a better number."""
    is_fit = run.pair.has_weights and run.stage.measures_fit
    values = [score(line) for line in run.metrics if line["split"] == "valid" and is_fit]
    command, gives = f"ppgen evaluate {run.directory or 'RUN'}", "its test log-likelihood"
    if not run.pair.has_weights:
        gives = "measures of its samples"
    advice = f"The run has not been evaluated: {command} gives {gives}, then write this page again."
    last = f"Last validation {name_of_value(run)}"
    found = "Test log-likelihood" if run.pair.has_weights else "Test log-likelihood under a Parzen window"
    what = last if is_fit else found
    if not values:
        return Headline(what, "none yet", "", (advice,), unit="")
    return Headline(what, number(values[-1]), "", (advice,))


@writes_pages
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
    sections = [made for section in SECTIONS if (made := section(run)) is not None]
    config = run.config
    return pages.render(
        "report.html",
        model=name_of(config["model"]),
        data=run.data.spec.name,
        objective=name_of(config["objective"]),
        options=texts(chosen(config["objective"]["options"], type(run.objective))),
        headline=headline(run),
        verdict=run.diagnosis,
        words=WORDS,
        diagnose=f"ppgen diagnose {run.directory or 'RUN'}",
        sections=sections,
    )
