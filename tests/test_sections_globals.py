"""What the report draws of latents of the whole data set, from details by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ppgen import make_pair
from ppgen.data import Dataset, DataSpec
from ppgen.diagnostics.result import Diagnosis, Finding
from ppgen.inference import ELBO
from ppgen.options import TrainingOptions
from ppgen.report import SECTIONS
from ppgen.runs import DIAGNOSIS, Run, describe
from ppgen.sections_globals import refits, shared_weights


def _run(folder: Path, question: str, details: dict[str, Any]) -> Run:
    """A run that was not trained, with these details in its directory."""
    x = torch.zeros(8, 3)
    data = Dataset(DataSpec("tiny", 3, "real"), (x,), (x,), (x,))
    pair, objective = make_pair("vae", data.spec), ELBO()
    found = Finding(question=question, title="?", status="warn", details=details)
    diagnosis = Diagnosis(findings=(found,), split="test", num_data=8, num_particles=10, seed=0)
    (folder / DIAGNOSIS).write_text(json.dumps(diagnosis.to_json()))
    return Run(pair, data, objective, describe(pair, data, objective, TrainingOptions()), [], folder)


def test_the_draws_that_carry_half_the_weight_are_counted(tmp_path: Path) -> None:
    """Shares 0.4, 0.3, 0.2, 0.1: the first carries 40 %, the first two half; a weight of zero is none."""
    assert shared_weights in SECTIONS
    weights = [-torch.inf, *torch.tensor([0.1, 0.4, 0.2, 0.3]).log().tolist()]
    section = shared_weights(_run(tmp_path, "global_importance", {"log_weights": weights, "num_data": 1234}))
    assert section is not None
    (figure,) = section.figures
    assert "The heaviest of 5 draws carries 40% of the weight, the 2 heaviest half of it." in str(figure.body)
    assert "1,234 training data" in figure.caption


def test_the_least_symmetric_dimension_is_drawn_in_tenths(tmp_path: Path) -> None:
    assert refits in SECTIONS
    section = refits(_run(tmp_path, "global_calibration", {"shares": {"log_topics[3]": [0.05, 0.95, 1.0, 0.8]}}))
    assert section is not None
    (figure,) = section.figures
    assert "4 simulated data sets: mean 0.70." in figure.caption
    assert "log_topics[3]" in figure.caption


def test_an_unanswered_question_is_not_drawn(tmp_path: Path) -> None:
    assert shared_weights(_run(tmp_path, "global_importance", {})) is None
    assert refits(_run(tmp_path, "global_calibration", {})) is None
