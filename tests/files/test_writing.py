"""Files written whole, and folders that one process claims."""

from __future__ import annotations

import errno
import fcntl
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from ppgen.errors import UsageError
from ppgen.files.writing import LOCK, claimed, write_all, write_whole
from tests.processes import FORK, started


def _claim(folder: Path, theirs: Connection) -> None:
    """Claim ``folder``, say so, and wait for a word."""
    with claimed(folder):
        theirs.send("claimed")
        theirs.recv()


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_folder_that_another_process_claimed_is_refused_and_the_process_named(tmp_path: Path) -> None:
    ours, theirs = FORK.Pipe()
    with started(_claim, tmp_path / "r", theirs) as process:
        assert ours.recv() == "claimed"
        with (
            pytest.raises(UsageError, match=f"r is in use: process {process.pid} on .* writes to it"),
            claimed(tmp_path / "r"),
        ):
            pass
        ours.send("end")
        process.join()
    with claimed(tmp_path / "r"):
        assert _names(tmp_path / "r") == {LOCK}


def test_the_lock_of_a_process_that_was_killed_does_not_block(tmp_path: Path) -> None:
    ours, theirs = FORK.Pipe()
    with started(_claim, tmp_path, theirs):
        assert ours.recv() == "claimed"
    assert _names(tmp_path) == {LOCK}
    with claimed(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    assert _names(tmp_path) == set()


def test_a_folder_is_claimed_once_in_one_process_too(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(UsageError, match=f"process {os.getpid()} "), claimed(tmp_path):
        pass


def test_a_folder_to_which_nothing_was_written_is_not_left(tmp_path: Path) -> None:
    with pytest.raises(KeyError), claimed(tmp_path / "a" / "b"):
        raise KeyError
    assert _names(tmp_path) == set()


def test_temporary_files_are_removed_unless_they_are_being_written(tmp_path: Path) -> None:
    left = [".config.json.123.tmp", ".checkpoint.safetensors.0123456789abcdef.tmp"]
    others = [".tmp", "notes.tmp", ".x.part", ".mine.draft.tmp"]
    for name in [*left, *others]:
        (tmp_path / name).touch()
    written = tmp_path / ".posterior.nc.42.tmp"
    with written.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with claimed(tmp_path):
            assert _names(tmp_path) == {LOCK, written.name, *others}


def test_who_writes_a_file_removes_what_a_kill_left_of_that_file_alone(tmp_path: Path) -> None:
    for name in (".report.html.0123456789abcdef.tmp", ".my-report.html.0123456789abcdef.tmp"):
        (tmp_path / name).touch()
    write_whole(tmp_path / "report.html", b"new")
    assert _names(tmp_path) == {"report.html", ".my-report.html.0123456789abcdef.tmp"}


def test_a_file_system_without_locks_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.warns(UserWarning, match="no locks: see that one process alone writes"), claimed(tmp_path):
        pass


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "link").read_text() == "new"
    assert _names(tmp_path) == {"mine", "link"}


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(UsageError, match="cannot be written"), claimed(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_files_that_are_written_together_are_all_new_or_all_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old")
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(UsageError, match=r"the disk is full; .* make room or choose another place, then rest\.$"):
        write_all({tmp_path / "a": b"new", tmp_path / "b": b"new"}, then="then rest")
    assert _names(tmp_path) == {"a"}
    assert (tmp_path / "a").read_text() == "old"
