"""Pictures of what a pair makes: grids of images, lines for other data, and files of samples."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppgen.errors import UsageError

__all__ = ["grid", "png"]


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
