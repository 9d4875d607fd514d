"""What the report draws of latents of the whole data set, from details by hand."""

from __future__ import annotations

from pathlib import Path

import torch

from ppgen.report.globals import global_refits, global_weights
from ppgen.report.page import SECTIONS
from tests.diagnosed import diagnosed, found, label_of, numbers_in


def test_the_draws_that_carry_half_the_weight_are_counted(tmp_path: Path) -> None:
    """Shares 0.4, 0.3, 0.2, 0.1: the first carries 40 %, the first two half; a weight of zero is none."""
    assert global_weights in SECTIONS
    weights = torch.tensor([0.1, 0.4, 0.2, 0.3]).log().tolist()
    sizes = dict.fromkeys(("num_draws", "num_particles", "num_latents"), 5)
    numbers = dict.fromkeys(("effective_sample_size", "standard_deviation", "noise", "noise_share"), 0.5)
    details = {"log_weights": [None, *weights], "num_data": 1234, **sizes, **numbers}
    section = global_weights(diagnosed(tmp_path, found("global_importance", details)))
    assert section is not None
    (figure,) = section.figures
    assert numbers_in(label_of(figure)) == [5, 0.4, 2]
    assert numbers_in(figure.caption)[:4] == [5, 1234, 0.4, 2]


def test_the_least_symmetric_dimension_is_drawn_in_tenths(tmp_path: Path) -> None:
    assert global_refits in SECTIONS
    sizes = dict.fromkeys(("num_replications", "num_data", "num_steps"), 4)
    shares = {"log_topics[3]": [0.05, 0.95, 1.0, 0.8]}
    details = {"shares": shares, "drift": 0.1, "quantities": [], **sizes}
    section = global_refits(diagnosed(tmp_path, found("global_calibration", details)))
    assert section is not None
    (figure,) = section.figures
    assert numbers_in(figure.caption) == [4, 0.7]  # data sets, and the mean share
    assert "log_topics[3]" in figure.caption


def test_an_unanswered_question_is_not_drawn(tmp_path: Path) -> None:
    assert global_weights(diagnosed(tmp_path, found("global_importance", {}))) is None
    assert global_refits(diagnosed(tmp_path, found("global_calibration", {}))) is None
