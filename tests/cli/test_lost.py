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

import pytest

from ppgen.comparison.plan import Plan
from ppgen.errors import UsageError
from ppgen.registry import MODELS
from ppgen.runs.load import load
from tests.cli.test_bad_input import TRAIN, Capture
from tests.cli_cases import BRIEF, COMPARE, QUICK, RESUME, files, run
from tests.kills import COMMANDS, TRAININGS
from tests.marks import thorough


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


@pytest.mark.thorough
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
    assert not files(small_disk)
    assert "name the --out of a `ppgen train`" in run(capsys, "evaluate", small_disk / "r").sentence


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


@pytest.mark.parametrize(
    ("kills", "what"),
    [
        (2, ["vae", "evaluate"]),
        *thorough(
            [(2, ["vae", "--compiled"]), (4, ["rbm", "gan", "vae, patience"]), (12, ["vae"]), (2, list(COMMANDS))]
        ),
    ],
)
def test_a_process_killed_at_any_instant_loses_nothing_and_what_goes_on_ends_as_if_it_had_not_been(
    kills: int, what: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills", *what, "--kills", str(kills)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    tried = [name for name in what if not name.startswith("--")]
    assert done.stdout.splitlines()[-1] == f"{kills * len(tried)} kills"


def test_every_family_is_killed() -> None:
    families = {name: spec.cls.__module__.rpartition(".")[0] for name, spec in MODELS.items()}
    assert {families[arguments[0]] for arguments in TRAININGS.values()} == set(families.values())
