"""What the report draws of ranks, of marginals beside a reference and of the inference gap, from details by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ppgen.pages.statistics import plot_in_band, plot_intervals, plot_stacks
from ppgen.report.calibration import calibration_ranks, evidence_bounds, inference_gaps, reference_marginals
from ppgen.report.page import SECTIONS
from tests.diagnosed import diagnosed, found, label_of, numbers_in

POINTS = [0.25, 0.5, 0.75]
CALIBRATION: dict[str, Any] = {
    "num_simulations": 100,
    "num_draws": 3,
    "p": 0.01,
    "histograms": {},
    "coverage": {"0.5": 0.4, "0.8": 0.7},
    "points": POINTS,
    "band": {"lower": [-0.1, -0.125, -0.1], "upper": [0.1, 0.125, 0.1], "level": 0.95},
    "quantities": [
        {"name": name, "p": 0.01, "error": 0.1, "shape": None, "coverage": {"0.5": half, "0.8": most}}
        for name, half, most in (("z[0]", 0.3, 0.6), ("z[1]", 0.5, 0.8), ("log p(x, z)", 0.0, 0.0))
    ],
    "curves": {"z[0]": [0.2, 0.0, -0.2], "z[1]": [0.1, 0.125, 0.1], "log p(x, z)": [0.0, 0.0, 0.0]},
}
"""z[0] leaves the band, z[1] lies on its edge."""

REFERENCE: dict[str, Any] = {
    "method": "enumeration",
    "num_states": 2,
    "total_variation": [0.1, 0.1],
    "wasserstein": {},
    "quantile_error": {},
    "names": ["z[0]", "z[1]"],
    "data": [3, 7],
    "probabilities": [0.05, 0.25, 0.5, 0.75, 0.95],
    "interval_error": {"guide": [[0.1, 0.9], [0.3, 0.2]], "weighted": [[0.01, 0.04], [0.03, 0.02]]},
    "noise": {"guide": 0.05, "weighted": 0.06},
    "quantiles": {
        name: [[[level + shift, level], [level, level]] for level in (-2.0, -1.0, 0.0, 1.0, 2.0)]
        for name, shift in (("reference", 0.0), ("guide", 0.5), ("weighted", 0.1))
    },
}

GAPS: dict[str, Any] = {
    "inference_gap": 1.5,
    "approximation_gap": 0.5,
    "amortisation_gap": 1.0,
    "standard_error": 0.02,
    "elbo": {"own": -1.0, "amortised": -2.0},
    "log_evidence": -0.5,
    "worst": [1, 0],
    "per_datum": {"approximation_gap": [0.75, 0.25], "amortisation_gap": [-0.25, 2.25]},
}

SANDWICH: dict[str, Any] = {
    "width": 0.3,
    "standard_error": None,
    "lower": [-11.0, -11.5],
    "simulated_lower": [-10.0, -12.0],
    "simulated_upper": [-9.9, -11.5],
    "shortfall": 0.2,
    "shortfall_per_datum": [0.5, -0.1],
    "acceptance": [0.7, 0.8, 0.9],
}

DRAWN = [
    (evidence_bounds, "sandwich", SANDWICH),
    (calibration_ranks, "calibration", CALIBRATION),
    (reference_marginals, "reference", REFERENCE),
    (inference_gaps, "gaps", GAPS),
]


@pytest.mark.parametrize(("section", "question", "details"), DRAWN)
def test_a_section_stands_on_the_page_and_is_silent_without_its_finding(
    section: Any, question: str, details: dict[str, Any], tmp_path: Path
) -> None:
    assert section in SECTIONS
    assert section(diagnosed(tmp_path)) is None
    assert section(diagnosed(tmp_path, found(question, {}))) is None
    assert section(diagnosed(tmp_path, found(question, details))) is not None


@pytest.mark.parametrize(("section", "question", "details"), DRAWN)
def test_every_figure_has_a_caption_and_an_alternative_text_of_its_own(
    section: Any, question: str, details: dict[str, Any], tmp_path: Path
) -> None:
    figures = section(diagnosed(tmp_path, found(question, details))).figures
    labels = [label_of(figure) for figure in figures]
    assert all(labels)
    assert len(set(labels)) == len(labels)
    assert all(figure.caption.endswith(".") for figure in figures)


def test_the_quantities_that_leave_the_band_are_named_and_those_on_its_edge_are_not(tmp_path: Path) -> None:
    ecdf, _ = calibration_ranks(diagnosed(tmp_path, found("calibration", CALIBRATION))).figures  # type: ignore[union-attr]
    names = "|".join(map(re.escape, CALIBRATION["curves"]))
    assert re.findall(names, label_of(ecdf)) == re.findall(names, ecdf.caption) == ["z[0]"]
    assert numbers_in(label_of(ecdf)) == [3, 3]  # quantities, and as many drawn


def test_coverage_is_that_of_the_latents_alone(tmp_path: Path) -> None:
    """100 simulations: the standard error of a share is at most 0.5 / 10."""
    _, coverage = calibration_ranks(diagnosed(tmp_path, found("calibration", CALIBRATION))).figures  # type: ignore[union-attr]
    assert numbers_in(label_of(coverage)) == [0.5, 0.4, 0.8, 0.7]  # each level, and the share that it held
    assert numbers_in(coverage.caption) == [2, 0.5, 0.4, 0.8, 0.7, 0.05]


def test_the_farthest_marginals_come_first_by_the_number_of_their_datum(tmp_path: Path) -> None:
    distances, quantiles = reference_marginals(diagnosed(tmp_path, found("reference", REFERENCE))).figures  # type: ignore[union-attr]
    marginals = re.findall(r"(z\[\d\]), datum (\d)", label_of(quantiles))
    assert marginals == [("z[1]", "3"), ("z[0]", "7"), ("z[1]", "7"), ("z[0]", "3")]
    assert numbers_in(label_of(distances)) == [4, 0.3, 0.03]  # the medians of the guide and of the weighted guide


def test_quantiles_of_latents_of_two_states_are_not_drawn(tmp_path: Path) -> None:
    coin = {name: [[[level, level]] * 2 for level in (0.0, 0.0, 0.0, 1.0, 1.0)] for name in REFERENCE["quantiles"]}
    section = reference_marginals(diagnosed(tmp_path, found("reference", {**REFERENCE, "quantiles": coin})))
    assert section is not None
    assert len(section.figures) == 1


def test_the_caption_of_the_gaps_has_both_parts_in_nats(tmp_path: Path) -> None:
    (bars,) = inference_gaps(diagnosed(tmp_path, found("gaps", GAPS))).figures  # type: ignore[union-attr]
    assert numbers_in(label_of(bars)) == [2, 1.5, 0.5, 1.0]  # data, whole, approximation, amortisation
    assert numbers_in(bars.caption) == [1.5, 0.5, 1.0, 0.02]


def test_the_width_of_bounds_and_the_guide_s_distance_are_drawn_apart(tmp_path: Path) -> None:
    without = {**SANDWICH, "shortfall": None, "shortfall_per_datum": None}
    both, alone = (evidence_bounds(diagnosed(tmp_path, found("sandwich", details))) for details in (SANDWICH, without))
    assert both is not None
    assert alone is not None
    widths, below, _ = both.figures
    assert numbers_in(widths.caption) == [2, 0.3]  # data, and their mean width
    assert numbers_in(below.caption) == [2, 0.2]  # data, and how far the guide's bound is below
    assert len(alone.figures) == 2  # of other latents: the widths, and the rates of acceptance


def test_stacked_bars_add_up_above_zero_and_below_it() -> None:
    chart = plot_stacks({"one": [1.0, 1.0, -1.0], "other": [2.0, -3.0, -2.0]}, x_label="", y_label="")
    (axes,) = chart.figure.axes
    one, other = axes.containers
    assert [bar.get_y() for bar in one] == [0, 0, 0]
    assert [(bar.get_y(), bar.get_height()) for bar in other] == [(1, 2), (0, -3), (-1, -2)]


def test_intervals_of_the_groups_stand_side_by_side_in_each_row() -> None:
    five = [-2.0, -1.0, 0.5, 1.0, 2.0]
    chart = plot_intervals(["first", "second"], {"a": [five, five], "b": [five, five]}, x_label="")
    (axes,) = chart.figure.axes
    medians = [line.get_xydata().tolist() for line in axes.lines]  # type: ignore[union-attr]
    assert medians == [[[0.5, pytest.approx(row + shift)] for row in (0, 1)] for shift in (-0.1, 0.1)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert axes.yaxis_inverted()


def test_a_band_names_each_group_of_curves_once() -> None:
    groups = {"within": [[0.0, 0.1, 0.0]] * 3, "outside": []}
    band = [0.2] * 3
    chart = plot_in_band(POINTS, [-y for y in band], band, groups, band="95% band", x_label="", y_label="")
    (axes,) = chart.figure.axes
    assert len(axes.lines) == 3
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["95% band", "within"]
