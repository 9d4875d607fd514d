"""What the report draws of predictive checks, from details by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ppgen.pages.statistics import plot_scores
from ppgen.report.page import SECTIONS
from ppgen.report.predictive import leave_one_out, posterior_checks, prior_checks
from ppgen.runs.run import Run
from tests.diagnosed import diagnosed, found, label_of, numbers_in

CHECKS = [
    {"name": "spread_within", "observed": 1.0, "mean": 1.5, "sd": 0.2, "p_value": 0.02},
    {"name": "zeros", "observed": 0.0, "mean": 0.0, "sd": 0.0, "p_value": 1.0},
]
BOTH = [(posterior_checks, "posterior_predictive"), (prior_checks, "prior_predictive")]


def _run(folder: Path, question: str, checks: list[dict[str, Any]]) -> Run:
    """A run with these checks in its directory."""
    return diagnosed(folder, found(question, {"checks": checks, "num_data": 8, "num_sets": 500}))


@pytest.mark.parametrize(("section", "question"), BOTH)
def test_the_data_stand_in_standard_deviations_from_the_mean_of_the_sets(
    section: Any, question: str, tmp_path: Path
) -> None:
    """(1 - 1.5) / 0.2 = -2.5; a quantity that is the same in every set has no such number and is left out."""
    assert section in SECTIONS
    (figure,) = section(_run(tmp_path, question, CHECKS)).figures
    assert numbers_in(label_of(figure)) == [500, -2.5, 0.02]
    assert numbers_in(figure.caption) == [8, 500, -2.5, 0.02]
    assert "zeros" not in figure.caption + str(figure.body)


@pytest.mark.parametrize(("section", "question"), BOTH)
def test_without_a_quantity_that_varies_nothing_is_drawn(section: Any, question: str, tmp_path: Path) -> None:
    assert section(_run(tmp_path, question, CHECKS[1:])) is None
    assert section(diagnosed(tmp_path, found("gaps", {}))) is None


def test_data_left_out_are_named_by_the_largest_k_hat(tmp_path: Path) -> None:
    assert leave_one_out in SECTIONS
    sums = {"elpd_loo": -3.0, "standard_error": 0.1, "p_loo": 1.0}
    details = {"k": [0.1, 0.8, 0.3], "worst": [1, 2, 0], **sums}
    section = leave_one_out(diagnosed(tmp_path, found("leave_one_out", details, threshold=0.7)))
    assert section is not None
    assert numbers_in(section.figures[0].caption) == [3, 1, 0.8, 2, 0.3, 0, 0.1]  # each datum and its k-hat
    assert leave_one_out(diagnosed(tmp_path, found("leave_one_out", {}))) is None


def test_scores_stand_against_bands_of_one_and_two_standard_deviations() -> None:
    (axes,) = plot_scores(["in", "out"], [1.5, -2.5], x_label="").figure.axes
    bands = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches)  # type: ignore[attr-defined]
    assert bands == [(-2, 2), (-1, 1)]
    inside, outside = (line.get_xydata().tolist() for line in axes.lines[1:])  # type: ignore[union-attr]
    assert (inside, outside) == ([[1.5, 0]], [[-2.5, 1]])
