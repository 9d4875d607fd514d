"""The repository of the user's own code: which commit a run was made at."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["repository_of"]

_SECONDS = 5.0
"""That git may take, before nothing is said of it."""


def repository_of(folder: Path) -> dict[str, Any] | None:
    """The commit of the repository that a folder lies in, and whether its tracked files differ; None: there is none."""
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    commit = None if status is None else _git(folder, "rev-parse", "HEAD")
    return None if commit is None else {"commit": commit.strip(), "dirty": bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where there is no git, no repository, or no answer."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # it reads alone
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
