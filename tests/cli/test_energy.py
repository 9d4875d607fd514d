"""The command line with an energy-based model: log Z when evaluated, chains when sampled, both on the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import ppgen
from ppgen.draws import prior_samples
from tests.cli_cases import QUICK, run

TRAIN = ["train", "rbm", "--data", "digits", "-M", "hidden=5", "--steps", "3", "--eager", "--objective"]

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "few_sweeps")


def test_evaluate_subtracts_the_log_z_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *TRAIN, "pcd", "--out", "r")
    exact = json.loads(run(capsys, "evaluate", "r", "--exact-log-z", "--json").out)
    assert exact["log_z"]["exact"] is True
    assert exact["log_z"]["standard_error"] == 0
    given = run(capsys, "evaluate", "r", "--temperatures", "200", "--chains", "50", "--json")
    found = json.loads(given.out)
    assert (found["log_z"]["num_temperatures"], found["log_z"]["num_chains"]) == (200, 50)
    difference = exact["log_likelihood"] - found["log_likelihood"]
    assert difference == pytest.approx(found["log_z"]["value"] - exact["log_z"]["value"], abs=1e-4)
    assert abs(difference) < 5 * found["log_z"]["standard_error"] + 1e-3
    assert json.loads(Path("r/evaluation.json").read_text()) == found


def test_training_data_are_evaluated_as_they_were_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Grey levels drawn as 0 or 1, which alone the visible layer takes."""
    run(capsys, *TRAIN, "cd", "--out", "r")
    found = json.loads(run(capsys, "evaluate", "r", "--split", "train", "--exact-log-z", "--json").out)
    test = json.loads(run(capsys, "evaluate", "r", "--exact-log-z", "--json").out)
    assert found["split"] == "train"
    assert abs(found["log_likelihood"] - test["log_likelihood"]) < 2


def test_evaluate_says_how_log_z_was_come_by(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *TRAIN, "cd", "--out", "r")
    exact = run(capsys, "evaluate", "r", "--exact-log-z").out
    assert exact.startswith("test: log p(x) ≈ -")
    assert exact.endswith(", exact, 300 data)\n")
    assert "20 temperatures, 5 chains of effective size" in run(
        capsys, "evaluate", "r", "--temperatures", "20", "--chains", "5"
    ).out.replace("\n", " ")


def test_sample_goes_on_from_the_chains_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *TRAIN, "pcd", "-O", "num_chains=6", "--out", "r")
    given = run(capsys, "sample", "r", "-n", "4", "--out", "s.npz")
    assert given.out == "s.npz: 4 samples from the Markov chains\n"
    with np.load("s.npz") as arrays:
        x = arrays["x"]
    found = ppgen.load("r")
    assert found.chains is not None
    assert found.chains.shape == (6, 64)
    drawn = prior_samples(found.pair, found.data.test, 4, start=found.chains)
    assert torch.equal(drawn.x, torch.from_numpy(x))


def test_the_report_shows_where_training_left_the_chains(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *TRAIN, "parallel_tempering", "-O", "num_chains=6", "-O", "num_temperatures=3", "--out", "r")
    assert run(capsys, "report", "r").code == 0
    page = Path("r/report.html").read_text()
    assert "each of which starts where training left it" in page
    assert "sweeps from its persistent chains" in page


def test_options_of_log_z_are_refused_for_a_normalised_model(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *QUICK, "--out", "r")
    for options in (["--exact-log-z"], ["--chains", "5"], ["--temperatures", "9"]):
        assert "a pair that is normalised, whose log Z is 0" in run(capsys, "evaluate", "r", *options).sentence


def test_chains_are_added_within_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    """Five chains are never worth 20: they are doubled three times, and forty are."""
    run(capsys, *TRAIN, "cd", "--out", "r")
    options = ["--temperatures", "20", "--chains", "5", "--json", "--budget"]
    found = json.loads(run(capsys, "evaluate", "r", *options, "1500").out)
    assert (found["log_z"]["num_chains"], found["log_z"]["num_sweeps"]) == (40, 20 * (5 + 10 + 20 + 40))
    assert found["log_z"]["effective_sample_size"] >= 20
    low, high = found["interval"]
    assert low < found["log_likelihood"] < high
    short = json.loads(run(capsys, "evaluate", "r", *options, "1499").out)["log_z"]
    assert (short["num_chains"], short["num_sweeps"], short["effective_sample_size"] < 20.0001) == (20, 700, True)
    assert short["upper"] is not None
    assert f"errs towards flattery by up to {short['flattery']:.2f} nats, with these chains" in short["warning"]


@pytest.mark.parametrize("budget", ["0", "-3", "99"])
def test_a_budget_of_less_than_one_run_is_refused(capsys: pytest.CaptureFixture[str], budget: str) -> None:
    run(capsys, *TRAIN, "cd", "--out", "r")
    given = run(capsys, "evaluate", "r", "--temperatures", "20", "--chains", "5", "--budget", budget)
    assert given.code == 2
    assert (
        f"budget must be at least the 100 sweeps of one run (20 temperatures x 5 chains), got {budget}"
        in given.sentence
    )


@pytest.mark.parametrize("option", ["--temperatures", "--chains"])
def test_too_few_temperatures_or_chains_are_refused(capsys: pytest.CaptureFixture[str], option: str) -> None:
    run(capsys, *TRAIN, "cd", "--out", "r")
    assert "must be at least 2" in run(capsys, "evaluate", "r", option, "1").sentence
