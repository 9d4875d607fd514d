"""A full disk and a killed process: nothing half-written, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from ppgen.checkpoint import read_checkpoint
from ppgen.comparison.plan import Plan
from ppgen.errors import UsageError
from ppgen.runs import load
from tests.cli_cases import BRIEF, COMPARE, QUICK, RESUME, files, run
from tests.test_cli_bad_input import TRAIN, Capture


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    """Within it, no file can be written that is longer than ``room`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


EVALUATE = ["evaluate", "r", "--particles", "2", "--num-data", "3"]
DIAGNOSE = ["diagnose", "r", "--particles", "30", "--num-data", "3", "--ask", "importance"]
REPORT = ["report", "r"]
SAMPLE = ["sample", "r", "-n", "4"]


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("command", [[*RESUME, "--out", "r"], EVALUATE, DIAGNOSE, REPORT, SAMPLE], ids=lambda c: c[0])
def test_a_full_disk_leaves_a_run_as_it_was_and_the_command_can_be_given_again(
    capsys: Capture, a_run: Path, command: list[str]
) -> None:
    before = files(a_run)
    with full_disk():
        given = run(capsys, *command)
    assert given.code == 2
    assert "the disk is full; what was there before is whole: make room" in given.err
    assert ("--resume" in given.err) == (command[0] == "train")
    assert files(a_run) == before
    again = run(capsys, *command)
    assert again.code == 0
    if command in (EVALUATE, DIAGNOSE):
        assert given.out == again.out  # no number is lost


@pytest.mark.usefixtures("in_an_empty_folder", "a_run")
@pytest.mark.parametrize(
    "command",
    [EVALUATE, DIAGNOSE, [*BRIEF["compare"], "--out", "c"]],
    ids=lambda c: c[0],
)
def test_a_full_disk_takes_no_document_away(capsys: Capture, command: list[str]) -> None:
    with full_disk():
        given = run(capsys, *command, "--json")
    assert given.code == 2
    assert json.loads(given.out)


def test_numbers_that_could_not_be_written_are_a_note_of_the_error(a_run: Path) -> None:
    found = load(a_run)
    with full_disk(), pytest.raises(UsageError, match="the disk is full") as refused:
        found.evaluate(particles=2, num_data=3)
    assert json.loads(refused.value.__notes__[0])["num_particles"] == 2


@pytest.mark.usefixtures("in_an_empty_folder")
def test_draws_that_do_not_fit_leave_the_diagnosis_and_the_draws_before(capsys: Capture, a_run: Path) -> None:
    assert run(capsys, *DIAGNOSE).code == 0
    before = files(a_run)
    (a_run / "diagnosis.json").unlink()
    with full_disk(room=20_000):
        assert "posterior.nc" in run(capsys, *DIAGNOSE).err
    assert files(a_run) == before


@pytest.mark.usefixtures("in_an_empty_folder")
def test_after_a_full_disk_a_comparison_is_made_again_in_the_same_folder(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Plan.train
    with full_disk():
        given = run(capsys, *COMPARE, "--out", "c")
    assert given.code == 2, given.err
    assert "then give the same command once more." in given.err, given.err
    assert not Path("c").exists()
    with ExitStack() as stack, monkeypatch.context() as patched:
        patched.setattr(
            Plan, "train", lambda *given, **more: (stack.enter_context(full_disk()), train(*given, **more))[1]
        )
        assert run(capsys, *COMPARE, "--out", "c").code == 2
    assert set(files(Path("c"))) == {"config.json", "comparison.json", "comparison.csv", "comparison.html"}
    assert run(capsys, *COMPARE, "--out", "c").code == 0
    assert "curves.csv" in files(Path("c"))


def test_a_disk_that_is_too_small_is_said_to_be_full(capsys: Capture, small_disk: Path) -> None:
    said = run(capsys, *TRAIN, "--out", small_disk / "r").sentence
    assert "cannot write" in said
    assert "the disk is full" in said
    assert set(files(small_disk)) == {"r/config.json"}
    assert "found none: train first" in run(capsys, "evaluate", small_disk / "r").sentence


def test_a_disk_that_fills_leaves_the_run_whole_and_it_goes_on_when_there_is_room(
    capsys: Capture, small_disk: Path
) -> None:
    folder = small_disk / "r"
    assert run(capsys, *QUICK, "--out", folder).code == 0
    before = files(folder)
    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        filler.writelines([b"0" * 4096] * 1000)
    assert "with --resume." in run(capsys, *RESUME, "--out", folder).sentence
    assert files(folder)["checkpoint.safetensors"] == before["checkpoint.safetensors"]
    assert set(files(folder)) == set(before)
    (small_disk / "filler").unlink()
    assert "after 6 steps" in run(capsys, *RESUME, "--out", folder).out


KILLER = """
import json, os, random, signal, sys, time
import torch
import ppgen.checkpoint, ppgen.files, ppgen.metrics
from ppgen.cli import main
from ppgen.options import TrainingOptions

TrainingOptions.__init__.__kwdefaults__.update(checkpoint_seconds=0.0, validate_every=2)
torch.set_num_threads(1)
arguments, moments = json.loads(sys.argv[1]), ("fsync", "replace", "_sync_folder", "any")
assert main([*arguments, "--out", "straight"]) == 0


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def train(number):
    "Go on with the run, and die at the n-th checkpoint, in the midst of writing it."
    moment, count = moments[number % len(moments)], 0

    def at(function, owner, name):
        def counted(*given):
            nonlocal count
            count += 1
            return die() if count > number // 2 + 2 else function(*given)

        setattr(owner, name, counted)

    if moment == "fsync":
        at(os.fsync, os, "fsync")
    elif moment == "replace":
        at(ppgen.checkpoint.Path.replace, ppgen.checkpoint.Path, "replace")
    elif moment == "_sync_folder":
        at(ppgen.files._sync_folder, ppgen.files, "_sync_folder")
    os._exit(main([*arguments, "--out", "killed", "--resume"]))


random.seed(0)
for number in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        train(number)
    if moments[number % len(moments)] == "any":
        time.sleep(random.uniform(0.0, 0.2))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    file = ppgen.checkpoint.Path("killed/checkpoint.safetensors")
    turn = ppgen.checkpoint.read_checkpoint(file)[1]["turn"] if file.exists() else None
    print(json.dumps([os.waitstatus_to_exitcode(status), turn]), flush=True)
sys.exit(main([*arguments, "--out", "killed", "--resume"]))
"""


@pytest.mark.parametrize(
    ("how", "kills"),
    [("--eager", 12), pytest.param("compiled", 4, marks=pytest.mark.slow)],
    ids=["eager", "compiled"],
)
def test_a_run_killed_at_any_instant_is_whole_and_ends_with_the_bits_of_one_that_was_not(
    tmp_path: Path, how: str, kills: int
) -> None:
    arguments = [
        "600" if argument == "3" else argument for argument in QUICK if argument != "--eager" or argument == how
    ]
    done = subprocess.run(
        [sys.executable, "-c", KILLER, json.dumps(arguments), str(kills)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    deaths = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    turns = [turn for _, turn in deaths if turn is not None]
    assert len([code for code, _ in deaths if code == -9]) >= 3 * kills // 4
    assert turns == sorted(turns)
    assert turns[0] < turns[-1]
    (straight, facts), (killed, same) = (
        read_checkpoint(tmp_path / name / "checkpoint.safetensors") for name in ("straight", "killed")
    )
    assert straight.keys() == killed.keys()
    assert all(torch.equal(straight[name], killed[name]) for name in straight)
    assert facts["turn"] == same["turn"] == 600
    told, retold = (_told(tmp_path / name / "metrics.jsonl") for name in ("straight", "killed"))
    assert told == retold


KILLER_OF_COMMANDS = """
import json, os, signal, sys
from pathlib import Path
import torch
from ppgen.cli import main

torch.set_num_threads(1)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def killed(arguments, owner, name, calls):
    "Die at that call of a function."
    function, count = getattr(owner, name), 0

    def counted(*given):
        nonlocal count
        count += 1
        return die() if count == calls else function(*given)

    setattr(owner, name, counted)
    os._exit(main(arguments))


for arguments in json.loads(sys.argv[1]):
    for owner, name, calls in ((os, "fsync", 1), (Path, "replace", 1), (Path, "replace", 2), (os, "fsync", 6)):
        child = os.fork()
        if child == 0:
            killed(arguments, owner, name, calls)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=sys.stderr)
    assert main(arguments) == 0, arguments
"""


@pytest.mark.slow
@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_command_that_was_killed_at_any_instant_can_be_given_again(a_run: Path) -> None:
    commands = [EVALUATE, DIAGNOSE, REPORT, [*COMPARE, "--out", "c"]]
    done = subprocess.run(
        [sys.executable, "-c", KILLER_OF_COMMANDS, json.dumps(commands)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines().count("-9") >= 2 * len(commands)
    found = load(a_run)
    assert found.evaluation is not None
    assert found.diagnosis is not None
    assert set(files(Path("c"))) == {
        *("config.json", "comparison.json", "comparison.csv", "comparison.html", "curves.csv")
    }


def _told(file: Path) -> list[dict[str, Any]]:
    """The record of a run, less the time it took."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
