"""Callbacks and the progress bar of ``ppgen train``."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppgen.files.checkpoint import read_checkpoint
from tests.cli_cases import QUICK, RESUME, run

WATCH = """
import ppgen


class Watch(ppgen.Callback):
    def after_step(self, training):
        if training.step == 2:
            training.stop()


class Late(Watch):
    def __init__(self, step):
        self.step = step

    def after_step(self, training):
        if training.step == self.step:
            raise ValueError("too late")


late = Late(2)
number = 3
"""


@pytest.fixture(autouse=True)
def _watch(tmp_path: Path, in_an_empty_folder: None) -> None:
    (tmp_path / "watch.py").write_text(WATCH)


def turn() -> int:
    return int(read_checkpoint(Path("r/checkpoint.safetensors"))[1]["turn"])


def test_a_callback_of_a_file_stops_a_training_which_is_gone_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *QUICK, "--out", "r", "--callback", "watch.py:Watch", "--no-progress").code == 0
    assert turn() == 2
    assert run(capsys, *RESUME, "--out", "r").code == 0
    assert turn() == 6


def test_a_callback_that_raises_is_named_with_its_line_and_the_run_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(capsys, *QUICK, "--out", "r", "--callback", "watch.py:late", "--checkpoint-every", "1")
    assert given.code == 2
    assert "callback Late raised ValueError: too late in its after_step (watch.py:17" in given.err
    assert turn() == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("watch.py:Late", "cannot be made without arguments"),
        ("watch.py:number", "objects of classes derived from ppgen.Callback, got 3"),
        ("watch.py:Wach", "'Watch'"),
        ("nowhere.py:Watch", "does not exist"),
        ("Watch", "--callback expects path/to/file.py:name, got 'Watch'"),
    ],
)
def test_what_is_no_callback_is_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    given = run(capsys, *QUICK, "--out", "r", "--callback", name)
    assert (given.code, Path("r").exists()) == (2, False)
    assert said in given.err
