"""A table of one's own: columns of a ``.csv`` file, or the arrays of a ``.npz`` archive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from ppgen.arguments import Seed, Share
from ppgen.data.dataset import Dataset
from ppgen.data.user import dataset_from
from ppgen.errors import UsageError, setting
from ppgen.registry import register_data

__all__ = ["table"]


@register_data(
    "table",
    summary="rows of a table of one's own, a .csv file or the arrays of a .npz archive that file= names",
    reference="Shafranovich, Common format and MIME type for comma-separated values (CSV) files",
    year=2005,
    link="https://www.rfc-editor.org/rfc/rfc4180",
    tags=("files",),
)
def table(
    *,
    file: str = "",
    target: str | int | None = None,
    columns: Any = None,
    labels: bool | None = None,
    categorical: bool | None = None,
    kinds: Any = None,
    observation: Literal["binary", "real", "quantised", "counts", "mixed"] | None = None,
    standardise: bool = False,
    levels: int | None = None,
    dynamic: bool = False,
    valid: Share | str = 0.1,
    test: Share | str = 0.1,
    seed: Seed = 0,
) -> Dataset:
    """A row is a datum; all columns but the target are x, side by side.

    Args:
        file: the ``.csv`` file, whose first line names the columns, or is numbers too, and columns are 0, 1, ...; or
            the ``.npz`` archive, of which an array of several dimensions may be x alone.
        target: the column that is y: numbers, or the names of classes.
        columns: those that are x, ``[a, b]``; all but the target if left out.
        labels: whether batches are (x, y); where there is a y if left out.
        categorical: whether y holds names of classes; where it is text, or all of the numbers 0..C-1, if left out.
        kinds: of columns of x, ``town:categorical,age:real``; those that are left out are found: text is categorical,
            0 and 1 are binary, other numbers real.
        observation: found where it is left out (:func:`ppgen.data.dataset_from`).
        standardise: whether real features are scaled to mean 0 and standard deviation 1.
        levels: grey levels of quantised data.
        dynamic: the numbers are probabilities, and 0 or 1 are drawn anew at each presentation.
        valid: a share of the rows to validate on, 0 for none, or a file of the same kind.
        test: the same, to test.
        seed: seeds the permutation that holds out.

    Raises:
        UsageError: no file is named, it is missing or no such file, lacks a column, has free text, a gap or one value
            in one of x, or holds what :func:`ppgen.data.dataset_from` refuses.
    """
    if not file:
        raise UsageError(f"data set 'table' needs a .csv or .npz file: {setting('D', 'file', 'table.csv')}.")
    return dataset_from(
        _place(file),
        valid=_place(valid),
        test=_place(test),
        columns=columns,
        target=target,
        labels=labels,
        categorical=categorical,
        kinds=kinds,
        observation=observation,
        standardise=standardise,
        name=Path(file).name,
        levels=levels,
        dynamic=dynamic,
        seed=seed,
    )


def _place(given: Any) -> Any:
    return os.path.expanduser(given) if isinstance(given, str) else given
