"""``load_data``: a registered data set by its name."""

from __future__ import annotations

import dataclasses
from typing import Any

from ppgen.arguments import check_names
from ppgen.data.dataset import Dataset
from ppgen.errors import UsageError, shown, within_memory
from ppgen.registry import DATA, Spec

__all__ = ["load_data", "loader_options"]


def load_data(name: str, **options: Any) -> Dataset:
    """The data set registered as ``name``; ``config`` records the name and all options, defaults included.

    Raises:
        UsageError: the name or an option is unknown (the nearest and all known ones are listed), a value is
            wrong, or the files can neither be found nor downloaded.

    >>> data = load_data("digits")
    >>> data.spec.num_data, data.spec.image_shape, data.dynamic
    (1297, (8, 8), True)
    """
    spec = DATA[name]
    complete = _complete(spec, options)
    with within_memory(f"data set {shown(name)} with {shown(options)}"):
        dataset: Dataset = spec.cls(**complete)
    return dataclasses.replace(dataset, config={"name": name, "options": complete})


def loader_options(spec: Spec) -> dict[str, Any]:
    """The options that a loader takes, each with its default."""
    return spec.options


def _complete(spec: Spec, options: dict[str, Any]) -> dict[str, Any]:
    known = loader_options(spec)
    for option in options:
        if option == "labels" and "labels" not in known:
            labelled = [other.name for other in DATA.values() if "labels" in loader_options(other)]
            raise UsageError(f"data set {shown(spec.name)} has no labels: those that have are {', '.join(labelled)}.")
    check_names(f"data set {shown(spec.name)}", spec.cls, options)
    return known | options
