"""Tables of numbers as files: text, arrays, columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppgen.errors import UsageError, shown
from ppgen.files.writing import write_whole

__all__ = ["as_csv", "as_npz", "as_parquet", "write_as"]


def as_csv(names: Sequence[str], table: NDArray[Any]) -> bytes:
    """Rows (N, C) of numbers, to nine digits, or of numbers and text, below a header of C names.

    >>> as_csv(["x", "y"], np.array([[0.5, 1.0]])).decode()
    'x,y\\n0.5,1\\n'
    >>> as_csv(["x", "town"], np.array([[0.5, "Bonn"]], dtype=object)).decode()
    'x,town\\n0.5,Bonn\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    if table.dtype.kind == "O":
        writer.writerows([one if isinstance(one, str) else f"{one:.9g}" for one in row] for row in table)
    else:
        np.savetxt(text, table, fmt="%.9g", delimiter=",")
    return text.getvalue().encode()


def as_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays by name."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for its flag
    return buffer.getvalue()


def as_parquet(names: Sequence[str], table: NDArray[Any]) -> bytes:
    """Columns (N, C) by their names.

    Raises:
        UsageError: what pandas writes such files with is not installed.
    """
    import pandas as pd

    try:
        return bytes(pd.DataFrame(table, columns=list(names)).to_parquet())
    except ImportError as error:
        raise UsageError(
            "a .parquet file is written by pyarrow, which is not installed: pip install pyarrow, or name a .csv file."
        ) from error


def write_as(path: str | Path, contents: Mapping[str, Any], what: str) -> None:
    """Write what is made for the suffix of ``path``, in a folder that is made where it is missing.

    Args:
        path: of the file.
        contents: by suffix, a function without arguments that gives the bytes.
        what: is written, for the sentence.

    Raises:
        UsageError: another suffix, or a place that cannot be written.
    """
    target = Path(path)
    if target.suffix not in contents:
        raise UsageError(
            f"{what} are written as {', '.join(contents)}, got {shown(str(path))}: name a file that ends so."
        )
    data = contents[target.suffix]()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {target.parent}: {error.strerror}; name another file.") from error
    write_whole(target, data)
