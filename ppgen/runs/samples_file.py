"""Samples of a run's model in a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppgen.draws.samples import Draws, conditions, prior_samples
from ppgen.errors import UsageError, shown
from ppgen.files.writing import write_whole
from ppgen.pairs.tracing import Batch

if TYPE_CHECKING:
    from ppgen.runs.run import Run
from ppgen.pages.look import look_of

__all__ = ["save_samples"]


def save_samples(run: Run, num_samples: int, path: str | Path, *, seed: int = 0) -> None:
    """Draw from the run's model and write it; the suffix of ``path`` says as what.

    An energy-based pair is drawn from by its chains, which begin where the run's persistent chains stand.

    ``.png``: for images the means of p(x | z), in a grid; for other data the draws, as cells,
    or as lines or points beside test data.
    ``.csv``: a draw of x a line, below a header (the words, of counts). ``.npz``: arrays ``x`` and ``mean``. Labels go
    along as ``y``.

    Raises:
        UsageError: num_samples < 1, another suffix, or a place that cannot be written.
    """
    target = Path(path)
    writers: dict[str, Callable[[Run, Draws, Batch], bytes]] = {".png": _as_png, ".csv": _as_csv, ".npz": _as_npz}
    if target.suffix not in writers:
        raise UsageError(
            f"samples are written as {', '.join(writers)}, got {shown(str(path))}: name a file that ends so."
        )
    batch = conditions(run.data, max(1, num_samples))
    draws = prior_samples(run.pair, batch, num_samples, start=run.chains, seed=seed)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {target.parent}: {error.strerror}; name another file.") from error
    write_whole(target, writers[target.suffix](run, draws, batch))


def _as_png(run: Run, draws: Draws, batch: Batch) -> bytes:
    look = look_of(run.data)
    return look.file(draws.mean if look.means else draws.x)


def _as_csv(run: Run, draws: Draws, batch: Batch) -> bytes:
    columns = _columns(run, draws, batch)
    names = run.data.spec.vocabulary or [f"x{i}" for i in range(draws.x.shape[1])]
    table = np.column_stack([columns["x"], *([columns["y"]] if "y" in columns else [])])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([*names, *["y"] * ("y" in columns)])
    np.savetxt(text, table, fmt="%.9g", delimiter=",")
    return text.getvalue().encode()


def _as_npz(run: Run, draws: Draws, batch: Batch) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **_columns(run, draws, batch))  # type: ignore[arg-type]  # numpy's stub takes them for its flag
    return buffer.getvalue()


def _columns(run: Run, draws: Draws, batch: Batch) -> dict[str, NDArray[Any]]:
    labels = {} if run.data.spec.num_classes is None else {"y": batch[1]}
    return {name: value.cpu().numpy() for name, value in {"x": draws.x, "mean": draws.mean, **labels}.items()}
