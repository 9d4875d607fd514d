"""A notebook of the gallery, run cell by cell in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["NOTEBOOKS", "cells", "run_short"]

_FOLDER = Path(__file__).resolve().parents[1] / "docs" / "gallery"

NOTEBOOKS = sorted(_FOLDER.glob("*.ipynb"))


def cells(notebook: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The cells of a kind, ``code`` or ``markdown``, each with its ``text``."""
    document = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in document["cells"]:
        if cell["cell_type"] == kind:
            yield {**cell, "text": "".join(cell["source"])}


def run_short(notebook: Path) -> None:
    """The short form: other parameters, those that the cell with the tag ``parameters`` keeps as its metadata
    ``short``; cells with the tag ``full`` are left out, since what they claim holds for the long form."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells(notebook, "code"):
        if "full" not in cell["metadata"].get("tags", ()):
            exec(compile(cell["text"], f"{notebook.name}, {cell['id']}", "exec"), names)
            names |= cell["metadata"].get("short", {})
