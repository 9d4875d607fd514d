"""Where the command line writes: in any encoding, to readers that leave, and until Ctrl-C."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from ppgen.cli import main
from tests.marks import thorough

PARTICLES = ["--particles", "30", "--num-data", "3"]


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "r", *PARTICLES],
        ["diagnose", "r", "--ask", "importance", *PARTICLES],
        ["train", "--help"],
        ["lsit"],
    ],
    ids=lambda command: command[0],
)
def test_what_cannot_be_encoded_is_replaced(
    a_run: Path, encoding: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    code = main(command)
    assert code == (2 if command == ["lsit"] else 0)
    for stream in streams.values():
        stream.flush()
    written = b"".join(stream.buffer.getvalue() for stream in streams.values())
    assert written.decode(encoding).strip()


@pytest.mark.parametrize("options", [[], *thorough([["--json"]])], ids=["table", "json"])
def test_a_reader_that_leaves_is_told_nothing(options: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "ppgen", "list", *options], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("name", ["evaluate", "diagnose", "report", "sample"])
def test_ctrl_c_ends_a_command_without_a_word(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("ppgen.runs.load"), "read_config", interrupted)
    assert main([name, "r"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_ends_a_comparison_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ppgen.comparison.plan.compare", interrupted)
    command = ["compare", "sbn", "--data", "digits", "--objectives", "vimco", "--out", str(tmp_path / "c")]
    assert main(command) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
