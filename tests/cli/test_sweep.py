"""``ppgen sweep``: what it prints, its exit codes, and what it refuses before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.cli_cases import SWEEP, USER_FILE, files, run

Capture: TypeAlias = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

LINE = ["sweep", "vae", "--data", "digits"]


def test_it_prints_a_table_and_the_best_cell_and_where_the_page_is(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    given = run(capsys, *SWEEP)
    assert (given.code, given.err) == (0, "")
    assert "│ 0.001 │ 1 of 1 │" in given.out
    assert "Best: lr=0.0" in given.out
    assert given.out.endswith("runs/vae-digits-sweep/sweep.html\n")
    assert "s holds" not in run(capsys, "evaluate", "runs/vae-digits-sweep/lr=0.01/seed-0", "--particles", "2").out


def test_json_is_one_document(capsys: Capture) -> None:
    found = json.loads(run(capsys, *SWEEP, "--out", "s", "--json").out)
    kept = json.loads(Path("s/sweep.json").read_text())
    assert found == {key: value for key, value in kept.items() if key not in ("format", "kind")}


def test_runs_that_fail_are_a_warning_and_none_that_is_done_is_exit_code_1(capsys: Capture) -> None:
    Path("my.py").write_text(USER_FILE)
    crashes = [word if word != "vae" else "my.py:Raises" for word in SWEEP if word not in ("-M", "hidden=[4]")]
    given = run(capsys, *[word for word in crashes if word != "latent_dim=2"], "--out", "s")
    assert given.code == 1
    assert given.err.startswith("ppgen: warning: 2 of 2 runs failed. The first of them is lr=0.001, seed 0: ")
    assert "raised KeyError: 'no such thing'." in given.err
    assert given.err.count("\n") == 1
    assert "No run is done." in given.out
    assert {Path(name).name for name in files(Path("s"))} == {"sweep.json", "sweep.html"}


def test_ctrl_c_says_how_to_go_on(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ppgen.runs.job.Job.train", interrupted)
        given = run(capsys, *SWEEP, "--out", "s")
    assert given.code == 130
    assert given.err.strip() == (
        "ppgen: stopped; s holds the runs that are done: go on with the same command and --resume."
    )
    assert run(capsys, *SWEEP, "--out", "s", "--resume").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--grid", "latent_dim=2,3"], "no option 'latent_dim': did you mean 'M.latent_dim'?"),
        (["--grid", "M.latentdim=2,3"], "no option 'M.latentdim': did you mean 'M.latent_dim'?"),
        (["--grid", "O.particles=2,3"], "no option 'O.particles'"),
        (["--grid", "seed=1,2"], "no option 'seed'"),
        (["--grid", "lr=fast,slow"], "lr must be a number above 0, got 'fast'."),
        (["--grid", "lr=0.1,-1"], "lr must be a number above 0, got -1."),
        (["--grid", "M.latent_dim=2,x"], "latent_dim must be a whole number of at least 1, got 'x'."),
        (["--grid", "D.binarize=none,nine"], "nine"),
        (["--grid", "lr="], "--grid expects an option and its values"),
        (["--grid", "lr"], "--grid expects an option and its values"),
        (["--grid", "lr=0.1,1e-1"], "--grid 'lr' has the value 0.1 twice"),
        (["--grid", "lr=0.1", "--grid", "lr=0.2"], "--grid 'lr' is given twice"),
        (["--grid", "lr=0.1,0.2", "--lr", "0.3"], "lr is set twice, by --grid and for all runs"),
        (["--grid", "M.latent_dim=2,3", "-M", "latent_dim=2"], "M.latent_dim is set twice"),
        (["--grid", "objective=elbo,iwelbo"], "objective is set twice"),
        (["--grid", "optimizer=Adam,Adam()"], "optimizer=Adam and optimizer=Adam() are the same training"),
        (["--grid", "steps=1,2", "--epochs", "1"], "steps and epochs both set the length"),
        (["--seeds", "1"], "a sweep of a single run is `ppgen train`"),
        (["--seeds", "0"], "seeds must be a whole number of at least 1, got 0."),
        (["--budget", "soon"], "--budget expects a time above zero, such as 90s, 30m or 2h, got 'soon'."),
        (["--budget", "0"], "--budget expects a time above zero"),
        (["--workers", "0"], "--workers must be at least 1, got 0."),
        (["--threads", "0"], "--threads must be at least 1, got 0."),
        (["--engine", "rya"], "expected the name of an engine, got 'rya': did you mean 'ray'?"),
        (["--split", "tets"], "unknown split 'tets': did you mean 'test'?"),
        (["--particles", "0"], "particles must be a whole number of at least 1, got 0."),
        (["--num-data", "1"], "num_data must lie between 2 and 200"),
        (["--device", "tpu"], "expected a device"),
        (["--data", "digit"], "did you mean 'digits'?"),
        (["--objective", "elbow"], "did you mean 'elbo'?"),
        (["--out", "f/s"], "cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_swept_is_refused_in_one_sentence_before_anything_is_written(
    capsys: Capture, arguments: list[str], said: str
) -> None:
    Path("f").write_text("mine")
    assert said in run(capsys, *LINE, "--objective", "elbo", *arguments).sentence
    assert files(Path()) == {"f": b"mine"}


def test_a_sweep_without_an_objective_is_refused(capsys: Capture) -> None:
    assert "a sweep needs an objective" in run(capsys, *LINE).sentence
    listed = run(capsys, *LINE, "--grid", "objective=elbo,mcem(", "--seeds", "1")
    assert "--grid expects" in listed.sentence


def test_workers_without_trainings_are_refused(capsys: Capture) -> None:
    line = ["compare", "vae", "--data", "digits", "--objectives", "elbo", "--workers", "2"]
    assert "--workers, --threads and --engine are for trainings: add --train" in run(capsys, *line).sentence
