"""Sections of the report on its evaluation: the bound over K, and every measure beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppgen.pages.charts import Curve, plot_curves
from ppgen.pages.elements import Section, figure_of
from ppgen.pages.numbers import number, plus_minus

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["likelihood", "measures"]


def likelihood(run: Run) -> Section | None:
    """The bound against the number of particles, with standard errors; None where it was not evaluated or is flat."""
    found = run.evaluation
    if found is None or run.pair.exact_guide or not found.curve or found.method in ("exact", "point"):
        return None
    K, bound, error = zip(*((p.num_particles, p.log_likelihood, p.standard_error) for p in found.curve), strict=True)
    chart = plot_curves([Curve("", K, bound, error)], x_label="particles K", y_label="nats per datum", log_x=True)
    alt = f"{number(bound[0])} nats per datum at K = {K[0]:,}, {number(bound[-1])} at K = {K[-1]:,}."
    text = (
        f"The bound of K particles on the log-likelihood of the {found.split} data: below log p(x) in expectation, "
        "tighter as K grows. While the curve still climbs, the truth is higher. A bar is one standard error of the "
        f"mean over {found.num_data:,} data."
    )
    rows = [(f"{k:,}", *plus_minus(value, se)) for k, value, se in zip(K, bound, error, strict=True)]
    table = (("K", "nats per datum", "standard error"), *rows)
    return Section("Likelihood", text, (figure_of(chart, alt),), table=table, group="Fit")


def measures(run: Run) -> Section | None:
    """Every measure of the last evaluation, with what it says; None where there are none."""
    if run.evaluation is None or not run.evaluation.measures:
        return None
    rows = [measure.cells for measure in run.evaluation.measures]
    return Section(
        "Measures", table=(("measure", "value", "±", "what it says"), *rows), text_columns=(0, 3), group="Fit"
    )
