"""A run on a hub of models: its folder is pushed there and read from there, by ``huggingface_hub``.

The run's own files travel (:data:`FILES`), and nothing else that stands in the folder: no lock, no logger's files, no
file of the user's. What comes is read as any run is, and nothing is unpickled. Which hub it is, and as whom one is
known there, is that library's to say (``HF_ENDPOINT``, ``hf auth login``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ppgen.errors import UsageError, first_sentence, shown
from ppgen.files.writing import claimed, write_all
from ppgen.runs.card import CARD, with_card
from ppgen.runs.config import read_config
from ppgen.runs.directory import FILES as WRITTEN
from ppgen.runs.directory import claim_directory
from ppgen.runs.page import REPORT
from ppgen.runs.run import Run

__all__ = ["FILES", "SCHEME", "fetched", "pull", "push"]

SCHEME = "hf://"

FILES = (*WRITTEN, CARD, REPORT)
"""What of a run's folder travels."""


def push(run: Run | str | Path, repo_id: str, *, private: bool = False) -> str:
    """Put a run's folder on the hub, with its card written anew, and return the address of the change.

    Args:
        run: a run that was written, or its directory.
        repo_id: ``user/name``; it is made where it is missing.
        private: of a new repository, whether others may not see it.

    Raises:
        UsageError: ``huggingface_hub`` is not installed; the run has no directory; the hub refuses.
    """
    _check_installed()
    folder = run.directory if isinstance(run, Run) else Path(run)
    if folder is None:
        raise UsageError("this run has no directory to push: fit with out=...")
    read_config(folder)
    files: dict[Path, Any] = {folder / name: folder / name for name in FILES if (folder / name).is_file()}
    card = with_card(folder)
    from huggingface_hub import CommitOperationAdd, HfApi

    with _told(f"cannot push {folder} to {shown(repo_id)}"):
        hub = HfApi(library_name="ppgen")
        name = hub.create_repo(_name(repo_id), private=private or None, exist_ok=True).repo_id
        added = [CommitOperationAdd(file.name, content) for file, content in {**files, **card}.items()]
        address = str(hub.create_commit(name, added, commit_message=f"{folder.name}, by ppgen"))
    write_all(card)  # last: what the hub refuses changes nothing here
    return address


def pull(repo_id: str, out: str | Path) -> Path:
    """Get a run from the hub into the folder ``out``, and return where it is.

    Args:
        repo_id: ``user/name``, ``hf://user/name``.
        out: a directory that holds no run.

    Raises:
        UsageError: as :func:`fetched`; ``out`` holds a run already, or cannot be written.
    """
    folder = claim_directory(out, resume=False)
    assert folder is not None  # as a path was given
    found = fetched(repo_id)
    with claimed(folder):
        write_all({folder / name: (found / name).read_bytes() for name in FILES if (found / name).is_file()})
    return folder


def fetched(repo_id: str) -> Path:
    """The folder of the library's own cache that has a run of the hub.

    Raises:
        UsageError: ``huggingface_hub`` is not installed; there is no such repository, or it holds no run.
    """
    _check_installed()
    from huggingface_hub import snapshot_download

    with _told(f"cannot read {shown(repo_id)} from the hub"):
        folder = Path(snapshot_download(_name(repo_id), allow_patterns=list(FILES), library_name="ppgen"))
    read_config(folder)
    return folder


def _name(repo_id: str) -> str:
    return repo_id.removeprefix(SCHEME)


def _check_installed() -> None:
    if find_spec("huggingface_hub") is None:
        raise UsageError("a hub needs huggingface_hub, which is not installed: pip install 'ppgen[hub]'.")


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # whatever the library, the network and the hub raise
        raise UsageError(
            f"{what}: {first_sentence(error)}; expected user/name of a repository, a network, and where it is private "
            "`hf auth login`."
        ) from error
