"""Runs that an earlier version wrote, with every module in another place: still evaluated, resumed and diagnosed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import ppgen

SAVED = Path(__file__).with_name("saved")
NAMES = ["vae", "rbm", "gan"]
"""A bound; an energy, with the chains of its negative phase; a critic with an optimizer of its own."""


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return Path(shutil.copytree(SAVED / request.param, tmp_path / request.param))


@pytest.mark.parametrize("folder", ["vae", "rbm"], indirect=True)
def test_it_is_evaluated_as_it_was(folder: Path) -> None:
    before, run = json.loads((folder / "evaluation.json").read_text(encoding="utf-8")), ppgen.load(folder)
    log_z, noise = None, 1e-3
    if before["log_z"] is not None:  # was estimated, and is exact now
        log_z, noise = ppgen.log_z(run.pair, exact=True), 6 * before["log_z"]["standard_error"]
    after = run.evaluate(particles=before["num_particles"], log_z=log_z)
    assert after.log_likelihood == pytest.approx(before["log_likelihood"], abs=noise)


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_it_is_resumed(folder: Path) -> None:
    run = ppgen.load(folder)
    last = run.metrics[-1]["step"]
    weights = {name: value.clone() for name, value in run.pair.state_dict().items()}
    options = {**run.config["training"], "steps": last + 3}
    del options["epochs"]
    more = ppgen.fit(run.pair, run.data, run.objective, **options, device="cpu", out=folder, resume=True)
    assert more.metrics[-1]["step"] == last + 3
    assert any(not torch.equal(value, weights[name]) for name, value in more.pair.state_dict().items())


@pytest.mark.parametrize(
    ("folder", "question"),
    [("vae", "importance"), ("rbm", "mixing"), ("gan", "likeness")],
    indirect=["folder"],
)
def test_it_is_diagnosed(folder: Path, question: str) -> None:
    found = ppgen.load(folder).diagnose(questions=[question], num_data=16, num_particles=50)
    assert [one.question for one in found.findings] == [question]
    again = ppgen.load(folder).diagnosis
    assert again is not None
    assert again.findings[0].status == found.findings[0].status


def test_its_diagnosis_is_read_and_written_as_it_stands() -> None:
    found = ppgen.load(SAVED / "vae").diagnosis
    assert found is not None
    assert found["gaps"].details.inference_gap == found["gaps"].number
    assert found.to_json() == json.loads((SAVED / "vae" / "diagnosis.json").read_text(encoding="utf-8"))
