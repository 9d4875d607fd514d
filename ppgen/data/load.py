"""``load_data``: a registered data set by its name, or one's own by the path of a file, a folder or a function."""

from __future__ import annotations

import dataclasses
import inspect
import os
from pathlib import Path
from typing import Any

from ppgen.arguments import check_names
from ppgen.data.dataset import Dataset
from ppgen.data.formats import names_in
from ppgen.data.images import PICTURES
from ppgen.data.texts import TEXTS
from ppgen.data.user import dataset_from
from ppgen.errors import UsageError, shown, within_memory
from ppgen.registry import DATA, Spec
from ppgen.user_code import file_and_name

__all__ = ["load_data", "named_loader"]

_READERS = {".csv": "table", ".npz": "table", ".npy": "arrays"}
"""The data set that reads a file, by the file's suffix."""

_OF_COUNTS = ({"format"}, {"indptr", "indices", "counts"})
"""Arrays by which an archive is known to be a sparse matrix of word counts."""


def load_data(name: str, **options: Any) -> Dataset:
    """A data set; ``config`` records the name and all options, defaults included.

    Args:
        name: a registered name; the path of a ``.csv``, ``.npz`` or ``.npy`` file, or of a folder of pictures, of
            texts or of ``.npy`` shards, which the data set ``table``, ``documents``, ``arrays``, ``images`` or
            ``texts`` reads; or
            ``path/to/file.py:function``, which gives a data set, or what :func:`ppgen.data.dataset_from` takes.
        options: of the data set, or of the function.

    Raises:
        UsageError: the name or an option is unknown (the nearest and all known ones are listed), a value is
            wrong, or the files can neither be found nor downloaded.

    >>> data = load_data("digits")
    >>> data.spec.num_data, data.spec.image_shape, data.dynamic
    (1297, (8, 8), True)
    """
    spec, place = named_loader(name)
    complete = _complete(spec, place | options)
    _check_call(spec, complete)
    with within_memory(f"data set {shown(name)} with {shown(options)}"):
        made = spec.cls(**complete)
        dataset = made if isinstance(made, Dataset) else dataset_from(made, name=name.rpartition(":")[2])
    return dataclasses.replace(dataset, config={"name": spec.name, "options": complete})


def named_loader(name: str) -> tuple[Spec, dict[str, Any]]:
    """The loader that a name stands for, and the options that follow from the name: of a path, ``file``.

    Raises:
        UsageError: it stands for none; there is no such file, or none that is read.
    """
    if name in DATA or file_and_name(name) is not None:
        return DATA.entry(name), {}
    path = Path(os.path.expanduser(str(name)))
    if os.path.isdir(path):
        return DATA[_reader_of_folder(path)], {"file": name}
    if path.suffix not in _READERS:
        if os.path.isfile(path):
            raise UsageError(f"data are read from files {', '.join(_READERS)} and from folders, got {shown(name)}.")
        return DATA[name], {}
    if not os.path.isfile(path):  # pathlib raises for names that are too long
        raise UsageError(f"there is no file {shown(name)}: correct the path of the data, or say where it is now.")
    counts = path.suffix == ".npz" and any(names <= set(names_in(path)) for names in _OF_COUNTS)
    return DATA["documents" if counts else _READERS[path.suffix]], {"file": name}


def _reader_of_folder(folder: Path) -> str:
    if any(folder.glob("*.npy")):
        return "arrays"
    for kind, name in ((PICTURES, "images"), (TEXTS, "texts")):
        if kind.lie_in(folder):
            return name
    raise UsageError(
        f"folder {folder} holds neither pictures (.png, .jpg) nor texts (.txt), in a folder for each class, nor .npy "
        "shards: name one that does."
    )


def _check_call(spec: Spec, options: dict[str, Any]) -> None:
    try:
        inspect.signature(spec.cls).bind(**options)
    except TypeError as error:
        raise UsageError(f"data set {shown(spec.name)} cannot be loaded with {shown(options)}: {error}.") from error


def _complete(spec: Spec, options: dict[str, Any]) -> dict[str, Any]:
    known = spec.options
    for option in options:
        if option == "labels" and "labels" not in known:
            labelled = [other.name for other in DATA.values() if "labels" in other.options]
            raise UsageError(f"data set {shown(spec.name)} has no labels: those that have are {', '.join(labelled)}.")
    check_names(f"data set {shown(spec.name)}", spec.cls, options)
    return known | options
