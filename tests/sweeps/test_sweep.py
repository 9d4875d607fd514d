"""A sweep's runs are those of ``ppgen train`` and ``ppgen evaluate``; what is refused, stopped and gone on with."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import ppgen
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint
from ppgen.files.writing import LOCK, claimed
from ppgen.machine.workers import answered
from ppgen.runs.job import Job
from ppgen.sweeps import Sweep, sweep
from ppgen.sweeps.core import _Book, _carried_out
from ppgen.sweeps.page import row
from ppgen.sweeps.plan import SweepPlan
from tests.cli_cases import files, run

MODEL = {"latent_dim": 2, "hidden": [4]}
COMMON = {"model_options": MODEL, "steps": 2, "eager": True, "particles": 2, "num_data": 3}
GRID = {"lr": (1e-3, 1e-2)}

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def swept(**options: Any) -> Sweep:
    given = {"grid": GRID, "seeds": 1, "out": "s", **COMMON, **options}
    return sweep("vae", "digits", given.pop("objective", "elbo"), **given)


def counted(monkeypatch: pytest.MonkeyPatch, change: Callable[[Job, int], Job] = lambda job, n: job) -> list[Job]:
    """The jobs that are trained from here on, after a change by their number."""
    trained: list[Job] = []
    train = Job.train

    def noted(job: Job, *given: Any, **more: Any) -> Any:
        trained.append(job)
        return train(change(job, len(trained)), *given, **more)

    monkeypatch.setattr(Job, "train", noted)
    return trained


def test_a_run_is_the_one_that_train_makes_and_evaluate_judges(capsys: pytest.CaptureFixture[str]) -> None:
    swept(grid={"O.num_particles": (1, 2)}, objective="iwelbo", seed=5)
    line = ["vae", "--data", "digits", "--objective", "iwelbo", "-O", "num_particles=2", "--seed", "5", "--steps", "2"]
    given = [*line, "-M", "latent_dim=2", "-M", "hidden=[4]", "--eager"]
    assert run(capsys, "train", *given, "--out", "alone").code == 0
    judge = ["--split", "valid", "--particles", "2", "--num-data", "3"]
    assert run(capsys, "evaluate", "alone", *judge).code == 0
    own = Path("s", "O.num_particles=2", "seed-5")
    assert set(files(own)) == set(files(Path("alone")))
    for name in ("config.json", "evaluation.json"):
        assert (own / name).read_bytes() == Path("alone", name).read_bytes()
    tensors, others = (read_checkpoint(folder / "checkpoint.safetensors")[0] for folder in (own, Path("alone")))
    assert all(torch.equal(tensors[name], others[name]) for name in others)


def test_options_of_every_part_reach_the_runs() -> None:
    grid = {"objective": ("elbo", "iwelbo(num_particles=3)"), "M.latent_dim": (3,), "D.binarize": ("threshold",)}
    found = swept(grid={**grid, "schedule": ("constant",)}, objective=None, model_options={"hidden": [4]})
    configs = [json.loads(Path("s", one.folder, "config.json").read_text()) for one in found.runs]
    assert [config["objective"]["name"] for config in configs] == ["elbo", "iwelbo"]
    assert configs[1]["objective"]["options"] == {"num_particles": 3}
    assert {config["model"]["options"]["latent_dim"] for config in configs} == {3}
    assert {config["data"]["options"]["binarize"] for config in configs} == {"threshold"}
    assert {config["training"]["schedule"] for config in configs} == {"constant"}


def test_seeds_alone_are_a_sweep_of_one_cell() -> None:
    found = swept(grid=None, seeds=2, seed=3)
    assert [one.folder for one in found.runs] == ["seed-3", "seed-4"]
    assert found.best is found.cells[0]


def test_the_page_and_the_record_say_what_the_result_says() -> None:
    found = swept()
    document = json.loads(Path("s/sweep.json").read_text())
    assert document["words"] == found.words()
    assert document["cells"][0]["runs"][0]["log_likelihood"] == found.runs[0].log_likelihood
    page = Path("s/sweep.html").read_text()
    assert all(cell.label in page for cell in found.cells)
    assert not Path("s", LOCK).exists()


def test_a_run_that_diverges_is_reported_and_the_rest_goes_on_and_it_is_not_trained_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = swept(grid={"lr": (1e30, 1e-3)}, steps=4)
    assert [one.status for one in found.runs] == ["diverged", "done"]
    assert "training stopped at step" in found.missing[0]
    trained = counted(monkeypatch)
    assert swept(grid={"lr": (1e30, 1e-3)}, steps=4, resume=True).runs == found.runs
    assert trained == []


def test_a_run_that_fails_is_tried_again_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        counted(patched, lambda job, number: job if number > 1 else dataclasses.replace(job, device="cuda:x"))
        found = swept()
    assert [one.status for one in found.runs] == ["failed", "done"]
    assert "expected a device" in found.runs[0].sentence
    trained = counted(monkeypatch)
    assert [one.status for one in swept(resume=True).runs] == ["done", "done"]
    assert [job.options.lr for job in trained] == [1e-3]


def test_ctrl_c_stops_and_the_sweep_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(job: Job, number: int) -> Job:
        if number == 2:
            raise KeyboardInterrupt
        return job

    with monkeypatch.context() as patched:
        counted(patched, interrupted)
        with pytest.raises(KeyboardInterrupt):
            swept()
    trained = counted(monkeypatch)
    assert swept(resume=True).num_done == 2
    assert [job.options.lr for job in trained] == [1e-2]


def test_what_has_not_begun_when_the_budget_is_over_is_left_and_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 0.5, 1.5])
    monkeypatch.setattr("ppgen.sweeps.core.time.monotonic", lambda: next(ticks, 0.0))
    found = swept(budget=1.0)
    assert [one.status for one in found.runs] == ["done", "left"]
    assert found.missing == ["1 of 2 runs are left: go on with resume=True."]
    assert swept(resume=True).num_done == 2


def test_seeds_and_values_can_be_added_and_nothing_is_trained_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    first = swept()
    trained = counted(monkeypatch)
    found = swept(grid={"lr": (1e-4, 1e-3, 1e-2)}, seeds=2, resume=True)
    assert found.num_done == 6
    assert [(job.options.lr, job.options.seed) for job in trained] == [(1e-4, 0), (1e-4, 1), (1e-3, 1), (1e-2, 1)]
    assert set(first.runs) <= set(found.runs)


def test_a_run_whose_folder_was_taken_away_is_trained_again() -> None:
    found = swept()
    shutil.rmtree(Path("s", found.runs[0].folder))
    again = swept(resume=True)
    assert [one.log_likelihood for one in again.runs] == [one.log_likelihood for one in found.runs]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 3}, "was begun with training = {'eager': True, 'steps': 2}, this one has"),
        ({"grid": {"lr": (1e-3,)}}, "was begun with grid"),
        ({"grid": {"M.latent_dim": (2,)}, "model_options": {}}, "was begun with grid"),
        ({"objective": "iwelbo"}, "was begun with objective = 'elbo'"),
        ({"resume": False}, "s holds a sweep already: add resume=True"),
        ({"seeds": 2, "seed": 1}, "was begun with seed = 0"),
    ],
    ids=str,
)
def test_another_sweep_in_its_place_is_refused_and_changes_nothing(options: dict[str, Any], said: str) -> None:
    swept()
    before = files(Path("s"))
    with pytest.raises(UsageError, match=said):
        swept(**{"resume": True, **options})
    assert files(Path("s")) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"grid": {"objective": "elbo"}, "objective": None},
            "the grid's objective must be a list of values, got 'elbo'",
        ),
        ({"grid": {"lr": 0.1}}, "the grid's lr must be a list of values, got 0.1"),
        ({"grid": {"lr": ()}}, "--grid 'lr' has no values"),
        ({"epohcs": 3}, "training has no option 'epohcs': did you mean 'epochs'"),
    ],
    ids=str,
)
def test_what_python_alone_can_get_wrong_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        swept(**options)
    assert not Path("s").exists()


def test_a_folder_in_use_is_refused_and_left_alone() -> None:
    with claimed(Path("s")), pytest.raises(UsageError, match="s is in use: process"):
        swept()
    assert not Path("s").exists()


def test_a_run_of_somebody_else_is_not_taken_for_the_sweeps_own() -> None:
    swept()
    Path("s/sweep.json").unlink()
    Path("s/sweep.html").unlink()
    before = files(Path("s"))
    with pytest.raises(UsageError, match=r"holds the run lr=0\.001/seed-0 and no sweep\.json"):
        swept(resume=True)
    assert files(Path("s")) == before


def test_a_folder_that_is_a_run_is_no_place_for_a_sweep(a_run: Path) -> None:
    with pytest.raises(UsageError, match="r holds a run or a comparison"):
        swept(out="r")


@pytest.mark.parametrize("damage", ["{", '{"format": 99}', '{"kind": "sweep", "plan": {}, "cells": [{"runs": [1]}]}'])
def test_a_record_that_was_edited_is_refused_by_its_name(damage: str) -> None:
    swept()
    Path("s/sweep.json").write_text(damage)
    with pytest.raises(UsageError, match=r"sweep\.json"):
        swept(resume=True)


def test_what_is_given_out_gives_the_run_that_the_sweep_keeps() -> None:
    plan = SweepPlan(
        model="vae",
        data="digits",
        objective="elbo",
        model_options=MODEL,
        training={"steps": 2, "eager": True},
        grid=GRID,
        seeds=1,
        particles=2,
        num_data=3,
    )
    first = next(_Book(Path("there"), plan, plan.check()).todo())
    answer = answered(_carried_out, first)
    assert answer.error is None
    assert answer.result.log_likelihood == swept().runs[0].log_likelihood


def test_it_is_a_function_of_the_package() -> None:
    assert ppgen.sweep is sweep


DIES_ONCE = """
import os, signal
from pathlib import Path

from ppgen.models import VAE


class Dies(VAE):
    def guide(self, x):
        if not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().guide(x)
"""


@pytest.mark.slow
def test_workers_train_the_same_bits_and_one_that_is_killed_loses_its_run_alone() -> None:
    """Two workers; the first that comes to run the pair dies, and its run is done when the sweep goes on."""
    Path("my.py").write_text(DIES_ONCE)
    options: dict[str, Any] = {**COMMON, "grid": GRID, "seeds": 1}
    found = sweep("my.py:Dies", "digits", "elbo", out="apart", workers=2, **options)
    assert sorted(one.status for one in found.runs) == ["done", "failed"]
    assert "its worker process was killed" in found.missing[0]
    again = sweep("my.py:Dies", "digits", "elbo", out="apart", resume=True, **options)
    here = sweep("my.py:Dies", "digits", "elbo", out="here", **options)
    assert [one.log_likelihood for one in again.runs] == [one.log_likelihood for one in here.runs]
    for one in here.runs:
        ours, theirs = (
            read_checkpoint(Path(place, one.folder, "checkpoint.safetensors"))[0] for place in ("apart", "here")
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_cell_says_what_its_log_z_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least of its seeds, of weights that are those of ``evaluate``; few temperatures make them."""
    monkeypatch.setattr("ppgen.evaluation.case.estimate_log_z", partial(ppgen.log_z, num_temperatures=100))
    given: dict[str, Any] = {**COMMON, "model_options": {"hidden": 3}}
    found = sweep("rbm", "digits", "pcd", grid={"lr": (1e-3,)}, seeds=2, out="s", **given)
    (cell,) = found.cells
    sizes = [size for run in cell.runs if (size := run.effective_chains) is not None]
    assert len(sizes) == 2
    assert all(1 <= size <= 100 for size in sizes)
    assert cell.effective_chains == min(sizes)
    assert f"best, log Z by chains worth {cell.effective_chains:.0f}" in row(cell, found)
