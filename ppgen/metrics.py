"""The record of a training: one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppgen.errors import UsageError

__all__ = ["MetricsLog", "score"]


def score(report: Mapping[str, float]) -> float:
    """The number a validation is judged by, more is better: the bound, or minus the loss where there is none."""
    return report["bound"] if "bound" in report else -report["loss"]


class MetricsLog:
    """Lines kept in memory and, with a path, appended to a file."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.size = 0
        """Length in bytes of what has been written."""

    def add(self, line: dict[str, Any]) -> None:
        """Append one line.

        Raises:
            UsageError: the file cannot be written (a full disk); what was there stays.
        """
        self.lines.append(line)
        if self.path is None:
            return
        text = (json.dumps(line) + "\n").encode()
        try:
            with self.path.open("r+b" if self.path.exists() else "wb") as file:
                file.truncate(self.size)
                file.seek(self.size)
                file.write(text)
        except OSError as error:
            raise UsageError(
                f"cannot write {self.path}: {error.strerror}; the last checkpoint is whole: make room and go on "
                "with --resume."
            ) from error
        self.size += len(text)

    def cut(self, size: int) -> None:
        """Take up an existing file, of which the first ``size`` bytes count.

        Raises:
            UsageError: the file is shorter than that.
        """
        if size == 0:
            return
        found = self.path.stat().st_size if self.path is not None and self.path.exists() else 0
        if self.path is None or found < size:
            raise UsageError(f"{self.path} has {found} bytes, the checkpoint knows {size}: it was cut; restore it.")
        kept = self.path.read_bytes()[:size].decode()
        self.lines, self.size = [json.loads(line) for line in kept.splitlines()], size
        os.truncate(self.path, size)
