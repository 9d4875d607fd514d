"""One file that holds a run's state: tensors, and small facts in the header. Written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ppgen.errors import UsageError

__all__ = ["read_checkpoint", "write_checkpoint", "write_whole"]


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write ``tensors`` and JSON-able ``facts`` to ``path``; a kill leaves the old or the new file whole.

    Raises:
        UsageError: the disk is full or the place cannot be written; the old file is untouched.
    """
    data = save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, {"facts": json.dumps(facts)})
    write_whole(path, data)


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary name beside ``path``, sync, and rename.

    Raises:
        UsageError: as :func:`write_checkpoint`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"{error.strerror}"
        raise UsageError(
            f"cannot write {path} ({len(data):,} bytes): {what}; what was there before is whole: "
            "make room or choose another --out, then go on with --resume."
        ) from error


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts of a checkpoint; nothing is unpickled.

    Raises:
        UsageError: there is none, or it is truncated or edited.
    """
    if not path.is_file():
        raise UsageError(f"expected a checkpoint at {path}, found none: train first, or name another run.")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no iterator
            facts = dict(json.loads((file.metadata() or {})["facts"]))
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise UsageError(
            f"checkpoint {path} cannot be read ({error}): it is truncated or was edited; restore it from a copy, "
            "or train again into another --out."
        ) from error
    return tensors, facts


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
