"""A run's directory: its files, and whose it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ppgen.errors import UsageError, option
from ppgen.files.writing import claimed
from ppgen.posterior.inference_data import POSTERIOR
from ppgen.runs.config import CONFIG
from ppgen.runs.snapshots import SNAPSHOTS

__all__ = [
    "CHECKPOINT",
    "DIAGNOSIS",
    "EVALUATION",
    "FILES",
    "METRICS",
    "VOCABULARY",
    "claim_directory",
    "claimed_run",
]


METRICS, CHECKPOINT, EVALUATION, DIAGNOSIS = (
    "metrics.jsonl",
    "checkpoint.safetensors",
    "evaluation.json",
    "diagnosis.json",
)

VOCABULARY = "vocabulary.txt"
"""The words that the data count, where they have names, one a line."""


FILES = (CONFIG, METRICS, CHECKPOINT, SNAPSHOTS, EVALUATION, DIAGNOSIS, POSTERIOR, VOCABULARY)
"""All that training, evaluation and diagnosis write to a run."""


@contextmanager
def claimed_run(out: str | Path | None, resume: bool, *, writes: bool = True) -> Iterator[Path | None]:
    """The directory of :func:`claim_directory`; within it, no other process writes a run there.

    Args:
        out, resume: as there.
        writes: whether this process writes the run; else there is no directory.

    Raises:
        UsageError: as there, or somebody else is writing there.
    """
    folder = claim_directory(out, resume) if writes else None
    if folder is None:
        yield None
        return
    with claimed(folder):
        yield claim_directory(folder, resume)  # again: somebody else may have written there before the lock was ours


def claim_directory(out: str | Path | None, resume: bool, files: Sequence[str] = FILES) -> Path | None:
    """The directory a run may be written to; nothing is created yet.

    Args:
        out: the directory; None: nothing is to be written.
        resume: whether to go on with the run in it.
        files: that will be written there, the one that marks a whole record first.

    Raises:
        UsageError: it holds a run and ``resume`` is False; it holds files of these names that are no run's, or links;
            or no files at all; it cannot be written; ``resume`` without a directory.
    """
    if out is None:
        if resume:
            raise UsageError(f"{option('resume', True)} needs the {option('out')} of the run to go on with.")
        return None
    folder, another = Path(out), f"name another {option('out')}"
    there = [name for name in files if os.path.lexists(folder / name)]
    if files[0] in there and not resume:
        raise UsageError(f"{folder} holds a run already: add {option('resume', True)} to go on with it, or {another}.")
    if there and files[0] not in there:
        raise UsageError(
            f"{folder} holds {there[0]} and no {files[0]}, so that it is not known whose it is: restore {files[0]}, or "
            f"{another}."
        )
    linked = [name for name in there if (folder / name).is_symlink()]
    strange = [name for name in there if not (folder / name).is_file()]
    if strange and not linked:
        raise UsageError(f"{folder / strange[0]} must be a file, and is none: take it away, or {another}.")
    if linked:
        raise UsageError(f"{folder / linked[0]} is a link, and what it leads to would be changed: {another}.")
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(
            f"{option('out', str(folder))} cannot be written: {existing} is no directory you may write to; name "
            "another."
        )
    return folder


def writable_directory(out: str | Path) -> Path:
    """``out``, made where it is missing.

    Raises:
        UsageError: it cannot be.
    """
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror}; name another.") from error
    return Path(out)
