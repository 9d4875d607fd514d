"""One file that holds a run's state: tensors, and small facts in the header. Written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ppgen.errors import UsageError, option
from ppgen.files.documents import FORMAT, parse_document
from ppgen.files.writing import write_whole

__all__ = ["go_on", "read_checkpoint", "write_checkpoint"]


def go_on() -> str:
    """What the user does when a disk was full in training."""
    return f"then go on with {option('resume', True)}"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write ``tensors`` and JSON-able ``facts`` to ``path``; a kill leaves the old or the new file whole.

    Raises:
        UsageError: the disk is full or the place cannot be written; the old file is untouched.
    """
    header = {"facts": json.dumps({"format": FORMAT, **facts})}
    data = save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, header)
    write_whole(path, data, then=go_on())


def read_checkpoint(path: Path, kind: Any = dict[str, Any], *, mend: str = "") -> tuple[dict[str, Tensor], Any]:
    """The tensors of a checkpoint, and its facts as a ``kind`` (:mod:`ppgen.files.documents`); nothing is unpickled.

    Raises:
        UsageError: there is none, it is truncated or was edited, or a later ppgen wrote it. It ends with ``mend``.
    """
    mend = mend or f"restore it from a copy, or train again into another {option('out')}"
    if not path.is_file():
        raise UsageError(f"expected a checkpoint at {path}, found none: train first, or name another run.")
    try:
        with safe_open(path, framework="pt") as file:
            facts = parse_document((file.metadata() or {})["facts"], kind, str(path), mend)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no iterator
    except (SafetensorError, KeyError, OSError) as error:
        raise UsageError(f"{path} cannot be read ({error}): it was edited or cut; {mend}.") from error
    return tensors, facts
