"""Samples of a run's model in a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppgen.draws.samples import Draws, prior_samples
from ppgen.errors import UsageError, shown
from ppgen.files.writing import write_whole
from ppgen.pages.charts import Vectors, draw_panels
from ppgen.pairs.tracing import Batch

if TYPE_CHECKING:
    from ppgen.runs.run import Run
from ppgen.draws.samples import conditions
from ppgen.pages.pictures import _TILE, grey_range, grid, picture_shape, png

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
    spec, test = run.data.spec, run.data.shown[0]
    shape = picture_shape(spec)
    if shape is None:
        panels = {"data": [Vectors(test[: len(draws.x)], 1, 0.5)], "samples": [Vectors(draws.x, 0, 0.5)]}
        return draw_panels(panels).png()
    square = round(len(draws.x) ** 0.5)
    columns = 1 if spec.image_shape is None else max(1, min(spec.num_classes or square, 20))
    tiles = draws.x if spec.image_shape is None else draws.mean
    return png(grid(tiles, shape, columns, grey=grey_range(spec, test)), max(1, _TILE // max(shape[-2:])))


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
