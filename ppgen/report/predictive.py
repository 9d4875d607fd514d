"""Sections of the report on predictive checks and leaving data out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ppgen.diagnostics.finding import Finding
from ppgen.diagnostics.questions.elpd import LeftOut
from ppgen.diagnostics.questions.predictive import Checks
from ppgen.pages.elements import Figure, figure_of
from ppgen.pages.numbers import number
from ppgen.pages.statistics import plot_scores
from ppgen.report.parts import k_hats, of_question

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["leave_one_out", "posterior_checks", "prior_checks"]

_NAMED = 5
"""Data of the largest k-hat that are named."""


@of_question("posterior_predictive", Checks, "Data made again", group="Model")
def posterior_checks(run: Run, found: Finding, details: Checks) -> Iterator[Figure]:
    """Test quantities of the data against those of sets made from the data's own latents."""
    yield from _checks(details, "made from the guide's latents of the data")


@of_question("prior_predictive", Checks, "New data against the data", group="Model")
def prior_checks(run: Run, found: Finding, details: Checks) -> Iterator[Figure]:
    """Test quantities of the data against those of new sets."""
    yield from _checks(details, "of new data")


@of_question("leave_one_out", LeftOut, "Data left out", group="Model")
def leave_one_out(run: Run, found: Finding, details: LeftOut) -> Iterator[Figure]:
    """The k-hat of leaving each datum out, in order."""
    k, named = details.k, ", ".join(f"{i} ({number(details.k[i])})" for i in details.worst[:_NAMED])
    yield k_hats(
        k,
        found.threshold,
        f"The k-hat of leaving out each of {len(k):,} training data, in order; the largest are those of datum {named}. "
        "Above the threshold, what is inferred from the others cannot be told without inferring it anew.",
    )


def _checks(details: Checks, made: str) -> Iterator[Figure]:
    """Every quantity that varies between the sets, in standard deviations from their mean."""
    checks = [check for check in details.checks if check.sd]
    if not checks:
        return
    names = [check.name.replace("_", " ") for check in checks]
    off = [(check.observed - check.mean) / check.sd for check in checks]
    chart = plot_scores(names, off, x_label="standard deviations of the sets")
    said = "; ".join(
        f"{name} {number(value, 1)} (p = {number(check.p_value, 3)})"
        for name, value, check in zip(names, off, checks, strict=True)
    )
    yield figure_of(
        chart,
        f"Quantities of the data among those of {details.num_sets:,} sets {made}: {said}.",
        f"Quantities of {details.num_data:,} data among those of {details.num_sets:,} sets of as "
        f"many {made}, in standard deviations from the sets' mean; the bands are one and two wide to each side. The "
        f"data's are: {said}.",
    )
