"""Whose a folder is: a run goes where nothing of another is, and one process writes to it at a time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TypeAlias

import pytest

from ppgen.files.writing import LOCK, claimed
from ppgen.runs.directory import FILES
from tests.cli_cases import COMPARE, QUICK, RESUME, files, run
from tests.processes import command_line, started

Capture: TypeAlias = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.mark.parametrize("command", [QUICK, COMPARE], ids=["train", "compare"])
def test_a_folder_in_use_is_refused_and_left_alone(capsys: Capture, command: list[str]) -> None:
    with claimed(Path("r")):
        before = files(Path("r"))
        assert "r is in use: process" in run(capsys, *command, "--out", "r").sentence
        assert files(Path("r")) == before
    assert not Path("r").exists()


def test_a_run_that_is_being_trained_is_not_gone_on_with_by_another_process(capsys: Capture) -> None:
    endless = ["100000" if argument == "3" else argument for argument in QUICK]
    with started(command_line, [*endless, "--out", "r"], Path("said").absolute()) as process:
        deadline = time.monotonic() + 60
        while not Path("r", "checkpoint.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        said = run(capsys, *endless, "--out", "r", "--resume").sentence
        assert f"r is in use: process {process.pid} on " in said
        assert process.is_alive()
    assert Path("r", LOCK).exists()
    before = Path("r", "config.json").read_bytes()
    assert "holds a run already" in run(capsys, *QUICK, "--out", "r").sentence
    assert Path("r", "config.json").read_bytes() == before


@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["anew", "resume"])
@pytest.mark.parametrize("name", [name for name in FILES if name != "config.json"])
def test_files_of_a_run_without_its_config_are_refused_and_left_alone(
    capsys: Capture, name: str, resume: list[str]
) -> None:
    Path("r").mkdir()
    Path("r", name).write_text("of somebody else")
    before = files(Path("r"))
    assert f"r holds {name} and no config.json" in run(capsys, *QUICK, "--out", "r", *resume).sentence
    assert files(Path("r")) == before


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoint.safetensors"])
def test_a_run_with_a_link_in_it_is_refused_and_what_the_link_leads_to_stays(
    capsys: Capture, a_run: Path, name: str
) -> None:
    (a_run / name).rename("elsewhere")
    (a_run / name).symlink_to(Path("elsewhere").absolute())
    before = Path("elsewhere").read_bytes()
    assert f"{name} is a link" in run(capsys, *RESUME, "--out", "r").sentence
    assert Path("elsewhere").read_bytes() == before


def test_a_link_that_leads_nowhere_is_refused_too(capsys: Capture) -> None:
    Path("r").mkdir()
    Path("r", "metrics.jsonl").symlink_to(Path("elsewhere").absolute())
    assert "holds metrics.jsonl and no config.json" in run(capsys, *QUICK, "--out", "r").sentence
    assert not Path("elsewhere").exists()


def test_what_a_killed_process_left_is_removed_when_the_run_goes_on(capsys: Capture, a_run: Path) -> None:
    for name in (LOCK, ".checkpoint.safetensors.123.tmp", ".config.json.0123456789abcdef.tmp"):
        (a_run / name).write_text("left")
    assert run(capsys, *RESUME, "--out", "r").code == 0
    assert {file.name for file in a_run.iterdir() if file.name.startswith(".")} == set()


@pytest.mark.thorough
def test_a_comparison_that_was_stopped_in_its_trainings_is_made_again_and_a_whole_one_is_not(capsys: Capture) -> None:
    assert run(capsys, *COMPARE, "--out", "c").code == 0
    assert "holds a run or a comparison already" in run(capsys, *COMPARE, "--out", "c").sentence
    Path("c", "curves.csv").unlink()
    others = ["3" if argument == "2" else argument for argument in COMPARE]
    assert "holds a run or a comparison already" in run(capsys, *others, "--out", "c").sentence
    assert run(capsys, *COMPARE, "--out", "c").code == 0
    assert Path("c", "curves.csv").exists()
