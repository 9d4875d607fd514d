"""What an evaluation says of itself, and that it is read back as it was written."""

from __future__ import annotations

import json

import pytest

from ppgen.chains.log_z import LogZ
from ppgen.evaluation.result import Evaluation, Measure, Method, Point

ANNEALED = LogZ(12.345, 0.5, exact=False, num_temperatures=2000, num_chains=100, effective_sample_size=57.6)
EXACT = LogZ(12.345, 0.0, exact=True)


def evaluation(method: Method = "bound", log_z: LogZ | None = None) -> Evaluation:
    measures = (Measure("perplexity", 1234.56, 3.21, "per word"), Measure("modes", 7.0, None, "modes reached"))
    curve = (Point(1, -30.0, 0.3), Point(1000, -27.0, 0.2))
    return Evaluation(-27.0, 0.2, 1000, "test", 300, curve, 0.5, log_z, method, 2500, measures)


@pytest.mark.parametrize("log_z", [None, ANNEALED, EXACT])
def test_json_is_read_back_as_the_same_evaluation(log_z: LogZ | None) -> None:
    found = evaluation("bound" if log_z is None else "annealed", log_z)
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("method", "log_z", "relation", "how"),
    [
        ("bound", None, "log p(x) ≥", "K = 1,000"),
        ("exact", None, "log p(x) =", "exact"),
        ("point", None, "log p(x, z) =", "at the guide's point z, no log-likelihood"),
        ("parzen", None, "Parzen window", "of 2,500 samples, not the model's likelihood"),
        ("enumerated", EXACT, "log p(x) ≈", "log Z = 12.35, exact"),
        (
            "annealed",
            ANNEALED,
            "log p(x) ≈",
            "log Z ≈ 12.35 ± 0.50: 2,000 temperatures, 100 chains of effective size 58",
        ),
    ],
)
def test_the_sentence_says_how_the_number_was_come_by(
    method: Method, log_z: LogZ | None, relation: str, how: str
) -> None:
    said = f"test: {relation} -27.00 ± 0.20 nats per datum ({how}, 300 data), 0.500 bits per dimension"
    assert evaluation(method, log_z).sentence == said


def test_a_measure_is_shown_to_four_digits_and_its_error_to_two() -> None:
    first, second = (measure.cells for measure in evaluation().measures)
    assert first == ("perplexity", "1,235", "3.2", "per word")
    assert second == ("modes", "7", "", "modes reached")
