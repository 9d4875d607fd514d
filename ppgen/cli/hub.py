"""``ppgen push`` and ``ppgen pull``: a run to a hub of models, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppgen.cli.options import RunFolder
from ppgen.runs import hub

__all__ = ["pull", "push"]

Repository = Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository.", show_default=False)]


def push(
    run: RunFolder,
    repository: Repository,
    private: Annotated[bool, typer.Option("--private", help="A repository that is made is for you alone.")] = False,
) -> None:
    """Put a run on the Hugging Face Hub, with its model card.

    The run's own files travel: configuration, record, parameters, evaluation, diagnosis, page, card. Log in first by
    `hf auth login`; HF_ENDPOINT names another hub.
    """
    print(hub.push(run, repository, private=private))


def pull(
    repository: Repository,
    out: Annotated[Path | None, typer.Option(help="Directory of the run.", show_default="runs/NAME")] = None,
) -> None:
    """Get a run from the Hugging Face Hub."""
    folder = hub.pull(repository, out or Path("runs", repository.rpartition("/")[2]))
    print(f"{folder}: next: ppgen evaluate {folder}")
