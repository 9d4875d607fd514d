"""Rows of one's own in ``.npy`` files, which need not fit into memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

from ppgen.arguments import Seed, one_of
from ppgen.data.dataset import Dataset
from ppgen.data.disk_files import on_disk
from ppgen.data.spec import Observation
from ppgen.data.user import dataset_from
from ppgen.errors import UsageError, setting
from ppgen.registry import register_data

__all__ = ["arrays"]


@register_data(
    "arrays",
    summary="rows of one's own in .npy files that stay on disk, a file or a folder of shards that file= names",
    reference="Harris et al., Array programming with NumPy",
    year=2020,
    link="https://doi.org/10.1038/s41586-020-2649-2",
    tags=("files",),
)
def arrays(
    *,
    file: str = "",
    valid: str = "",
    test: str = "",
    observation: str = "",
    levels: int | None = None,
    dynamic: bool = False,
    held_out: float = 0.1,
    seed: Seed = 0,
) -> Dataset:
    """Rows of numbers, (N, ...), which are read from their files a minibatch at a time (:func:`ppgen.data.on_disk`).

    Args:
        file: the training data: a ``.npy`` file, a folder of such shards, or an uncompressed ``.npz`` archive of one
            array.
        valid: the same, to validate; without it a ``held_out`` share of the training data does.
        test: the same, to test.
        observation: ``binary``, ``real``, ``quantised`` or ``counts``; found where it is not given
            (:func:`ppgen.data.dataset_from`).
        levels: grey levels of quantised data.
        dynamic: the rows are probabilities, and 0 or 1 are drawn anew at each presentation.
        held_out: between 0 and 1.
        seed: seeds the permutation that holds out.

    Raises:
        UsageError: no file is named, one is missing or no such file, or holds what :func:`ppgen.data.dataset_from`
            refuses.
    """
    if not file:
        raise UsageError(f"data set 'arrays' needs a .npy file or a folder of them: {setting('D', 'file', 'x.npy')}.")
    if observation:
        one_of("unknown observation", observation, [kind for kind in get_args(Observation) if kind != "any"])
    parts: Any = {name: _rows(path) for name, path in (("valid", valid), ("test", test)) if path}
    kind: Any = observation or None
    return dataset_from(
        _rows(file),
        **parts,
        observation=kind,
        name="arrays",
        levels=levels,
        dynamic=dynamic,
        held_out=held_out,
        seed=seed,
    )


def _rows(path: str) -> Any:
    return on_disk(Path(os.path.expanduser(path)))
