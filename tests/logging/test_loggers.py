"""Loggers write real files by the real libraries; one whose library is missing says which extra has it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import ppgen
from ppgen.cli import main
from ppgen.data import as_dataset
from ppgen.logging import LOGGERS, MLflow, TensorBoard, WandB, make_loggers
from tests.cli_cases import QUICK
from tests.doubles import Line, data

OPTIONS: dict[str, Any] = {"eager": True, "batch_size": 4, "validate_every": 2}


def fit(logger: ppgen.Callback, out: Path | None, steps: int = 4, *, resume: bool = False) -> ppgen.Run:
    held = as_dataset(data(12), valid=data(5, seed=2))
    return ppgen.fit(Line(), held, "elbo", callbacks=[logger], out=out, steps=steps, resume=resume, **OPTIONS)


def bounds(run: ppgen.Run) -> dict[int, Any]:
    """By step, of the validations."""
    return {line["step"]: pytest.approx(line["bound"], rel=1e-6) for line in run.metrics if line["split"] == "valid"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_tensorboard_has_every_report_of_a_run_that_was_gone_on_with(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(TensorBoard(), tmp_path, 4)
    run = fit(TensorBoard(), tmp_path, 6, resume=True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {event.step: event.value for event in events.Scalars("valid/bound")} == bounds(run)
    assert "train/gradient_norm" in events.Tags()["scalars"]
    assert events.Tags()["tensors"] == ["config/text_summary"]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_parameters_and_metrics_in_one_run_that_is_gone_on_with(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    fit(MLflow(), tmp_path, 4)
    run = fit(MLflow(), tmp_path, 6, resume=True)
    client = MlflowClient(tracking_uri=(tmp_path / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("ppgen")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["objective.name"] == "elbo"
    history = client.get_metric_history(found.info.run_id, "valid/bound")
    assert {metric.step: metric.value for metric in history} == bounds(run)


@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    fit(WandB(), tmp_path)
    (file,) = (tmp_path / "wandb").glob("wandb/offline-run-*/run-*.wandb")
    assert b"valid/bound" in file.read_bytes()


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_that_is_not_installed_names_its_extra_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert main([*QUICK, "--out", str(tmp_path / "r"), "--log", name]) == 2
    assert f"pip install 'ppgen[{name}]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_logger_is_told_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--out", str(tmp_path / "r"), "--log", "tensorboard, mlfow"]) == 2
    assert "got 'mlfow': did you mean 'mlflow'?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_logger_without_a_folder_says_so() -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(ppgen.UsageError, match=r"TensorBoard raised UsageError: no folder for its files: fit with out"):
        fit(TensorBoard(), None)


def test_each_name_makes_one_logger() -> None:
    pytest.importorskip("tensorboard")
    assert [type(one) for one in make_loggers(["tensorboard", "tensorboard"])] == [TensorBoard]
