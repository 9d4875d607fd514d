"""A bar is drawn where a person watches, and one at a time."""

from __future__ import annotations

import pytest

from ppgen.machine.progress import bar, track


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is a terminal, as far as Rich knows."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")


def test_nothing_is_drawn_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), "counting", shown=True)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("watched")
def test_a_terminal_shows_it_unless_it_is_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), "counting", shown=False)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    assert list(track(range(3), "counting", shown=True)) == [0, 1, 2]
    assert "counting" in capsys.readouterr().err


@pytest.mark.usefixtures("watched")
def test_the_outer_of_two_is_drawn_and_the_next_one_again(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in track(range(2), "outer", shown=True):
        assert list(track(range(2), "inner", shown=True)) == [0, 1]
    said = capsys.readouterr().err
    assert "outer" in said
    assert "inner" not in said
    with bar() as another:
        assert not another.disable
