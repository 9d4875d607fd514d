"""Sections of the report on predictive checks: the data's quantities among those of sets that the model makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ppgen.charts_statistics import draw_intervals
from ppgen.diagnostics.result import Finding
from ppgen.sections import Figure, drawn, number
from ppgen.sections_diagnostics import of_question

if TYPE_CHECKING:
    from ppgen.runs import Run

__all__ = ["made_again", "made_anew"]

_NORMAL = [-2.0, -1.0, 0.0, 1.0, 2.0]


@of_question("posterior_predictive", "Data made again")
def made_again(run: Run, found: Finding) -> Iterator[Figure]:
    """Test quantities of the data against those of sets made from the data's own latents."""
    yield from _checks(found, "made from the guide's latents of the data")


@of_question("prior_predictive", "New data against the data")
def made_anew(run: Run, found: Finding) -> Iterator[Figure]:
    """Test quantities of the data against those of new sets."""
    yield from _checks(found, "of new data")


def _checks(found: Finding, made: str) -> Iterator[Figure]:
    """Every quantity that varies between the sets, in standard deviations from their mean."""
    checks = [check for check in found.details.get("checks", ()) if check["sd"]]
    if not checks:
        return
    names = [check["name"].replace("_", " ") for check in checks]
    off = [(check["observed"] - check["mean"]) / check["sd"] for check in checks]
    chart = draw_intervals(
        names,
        {"sets of the model": [_NORMAL] * len(checks), "data": [[value] * 5 for value in off]},
        x_label="standard deviations of the sets",
    )
    said = "; ".join(
        f"{name} {number(value, 1)} (p = {number(check['p_value'], 3)})"
        for name, value, check in zip(names, off, checks, strict=True)
    )
    yield drawn(
        chart,
        f"Quantities of the data among those of {found.details['num_sets']:,} sets {made}: {said}.",
        f"Quantities of {found.details['num_data']:,} data among those of {found.details['num_sets']:,} sets of as "
        f"many {made}, in standard deviations from the sets' mean; thick: one, thin: two. The data's are: {said}.",
    )
