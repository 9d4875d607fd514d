"""Pictures of what a pair makes: grids of images, lines for other data, and files of samples."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppgen.charts import Vectors, draw_panels
from ppgen.data import Dataset, DataSpec
from ppgen.data.sparse import Rows
from ppgen.draws import Draws, Traversal, latent_traversal, prior_samples, reconstructions
from ppgen.errors import UsageError, shown
from ppgen.files import write_whole
from ppgen.tracing import Batch

if TYPE_CHECKING:
    from ppgen.runs import Run

__all__ = [
    "Draws",
    "Traversal",
    "conditions",
    "grey_range",
    "grid",
    "latent_traversal",
    "picture_shape",
    "png",
    "prior_samples",
    "reconstructions",
    "save_samples",
]

_TILE = 64
"""Pixels of the shorter side of a picture in a file, at least."""

_GREYS = 1000
"""Rows of data that say what is black and what white."""


def picture_shape(spec: DataSpec) -> tuple[int, ...] | None:
    """How a datum is drawn: (H, W) or (C, H, W); one row of cells for vectors of levels; None: as lines."""
    if spec.image_shape is not None:
        return spec.image_shape
    return (1, spec.num_features) if spec.in_unit_interval else None


def grey_range(spec: DataSpec, x: Rows) -> tuple[float, float]:
    """The numbers drawn black and white: 0 and 1, or for real data and counts the extremes of ``x``, its first rows."""
    shown = x[:_GREYS]
    return (0.0, 1.0) if spec.in_unit_interval else (float(shown.min()), float(shown.max()))


def grid(
    tiles: Tensor,
    shape: tuple[int, ...],
    columns: int,
    *,
    grey: tuple[float, float] = (0.0, 1.0),
    gap: int = 1,
    band: int = 0,
) -> NDArray[np.uint8]:
    """Pictures side by side, row by row, on a transparent ground.

    Args:
        tiles: (num, D).
        shape: (H, W), (1, H, W) or (3, H, W) with D numbers.
        columns: pictures in a row; the last row may be shorter.
        grey: the numbers drawn black and white; what is beyond is clipped.
        gap: pixels between pictures.
        band: twice the gap after every so many rows; 0: nowhere.

    Returns:
        (height, width, 4), red, green, blue, opacity, 0 to 255.

    Raises:
        UsageError: columns < 1, or the shape holds another number of numbers or of colours.
    """
    *channels, H, W = shape
    if columns < 1 or channels not in ([], [1], [3]) or tiles[0].numel() != int(np.prod(shape)):
        raise UsageError(
            f"expected pictures of shape (H, W), (1, H, W) or (3, H, W) in at least 1 column, got {tiles[0].numel()} "
            f"numbers as {tuple(shape)} in {columns}."
        )
    low, high = grey
    level = ((tiles.detach().cpu().double() - low) / max(high - low, 1e-12)).clamp(0, 1) * 255
    colour = level.round().byte().view(len(tiles), -1, H, W).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    rows = -(-len(tiles) // columns)
    tops = [row * (H + gap) + (gap * (row // band) if band else 0) for row in range(rows)]
    canvas = np.zeros((tops[-1] + H, min(columns, len(tiles)) * (W + gap) - gap, 4), np.uint8)
    for index, tile in enumerate(colour):
        top, left = tops[index // columns], index % columns * (W + gap)
        canvas[top : top + H, left : left + W, :3], canvas[top : top + H, left : left + W, 3] = tile, 255
    return canvas


def png(pixels: NDArray[np.uint8], enlarged: int = 1) -> bytes:
    """A PNG file of ``pixels``, each drawn as a square of ``enlarged`` by ``enlarged``."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels.repeat(enlarged, 0).repeat(enlarged, 1), format="png")
    return buffer.getvalue()


def conditions(data: Dataset, num: int) -> Batch:
    """A batch of ``num`` to sample at: test data (or what there is) in turn, their labels every class in turn."""
    shown = data.shown
    rows = torch.arange(num, device=shown[0].device)
    batch = tuple(part[rows % len(part)] for part in shown)
    classes = data.spec.num_classes
    return batch if classes is None else (batch[0], rows % classes, *batch[2:])


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
