"""The commit that a run was made at."""

import subprocess
from pathlib import Path

import pytest

from ppgen.files.repository import repository_of


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_and_whether_tracked_files_differ(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert repository_of(tmp_path) is None  # nothing was committed
    (tmp_path / "my.py").write_text("x = 1\n")
    git(tmp_path, "add", "my.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    (tmp_path / "below").mkdir()
    (tmp_path / "untracked.txt").write_text("y")
    assert repository_of(tmp_path / "below") == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "my.py").write_text("x = 2\n")
    found = repository_of(tmp_path)
    assert found is not None
    assert found["dirty"]


def test_without_a_repository_or_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repository_of(tmp_path) is None
    assert repository_of(tmp_path / "missing") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert repository_of(Path(__file__).parent) is None
