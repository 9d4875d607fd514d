"""The Laplacian pyramid of a picture: a coarse picture, and at each level what the one below it lacks.

    c = d(x)           each 2 x 2 square to its mean, (C, H, W) to (C, H / 2, W / 2)
    u(c)               each pixel to a square of four
    r = x - u(d(x))    the residual, whose mean over each square is 0;        x = u(c) + r

d(u(c)) = c, so that u d is a projection, and the residuals are what it maps to 0: :func:`residual` makes one of any
picture, and leaves a residual as it is. A picture and its pyramid determine each other; x = u(c) + r to rounding.

Pictures are flat, (..., C * H * W), row-major. The Laplacian Pyramid as a Compact Image Code, Burt and Adelson, 1983,
with the mean of a square in the place of their wider kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ppgen.errors import UsageError

__all__ = ["assembled", "coarse_shapes", "doubled", "halved", "pyramid", "residual"]


def coarse_shapes(image_shape: Sequence[int], levels: int) -> list[tuple[int, int, int]]:
    """(C, H, W) at each level, the coarsest first.

    Raises:
        UsageError: height or width is no multiple of 2^(levels - 1).

    >>> coarse_shapes((28, 28), 3)
    [(1, 7, 7), (1, 14, 14), (1, 28, 28)]
    """
    (colours,), (height, width) = image_shape[:-2] or (1,), image_shape[-2:]
    most = 2 ** (levels - 1)
    if height % most or width % most:
        raise UsageError(
            f"a pyramid of {levels} levels needs height and width in multiples of {most}, got pictures of {height} x "
            f"{width}: give fewer levels."
        )
    return [(colours, height // 2**n, width // 2**n) for n in reversed(range(levels))]


def halved(x: Tensor, shape: Sequence[int]) -> Tensor:
    """d(x): (..., C * H * W) to (..., C * H / 2 * W / 2); ``shape`` is (C, H, W) of x."""
    colours, height, width = shape
    squares = x.reshape(*x.shape[:-1], colours, height // 2, 2, width // 2, 2)
    return squares.mean((-3, -1)).flatten(-3)


def doubled(c: Tensor, shape: Sequence[int]) -> Tensor:
    """u(c): (..., C * H / 2 * W / 2) to (..., C * H * W); ``shape`` is (C, H, W) of the result."""
    colours, height, width = shape
    squares = c.reshape(*c.shape[:-1], colours, height // 2, 1, width // 2, 1)
    return squares.expand(*squares.shape[:-4], height // 2, 2, width // 2, 2).flatten(-5)


def residual(x: Tensor, shape: Sequence[int]) -> Tensor:
    """x - u(d(x)), (..., C * H * W)."""
    return x - doubled(halved(x, shape), shape)


def pyramid(x: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The coarsest picture, then the residual of each level up to x; ``shapes`` as of :func:`coarse_shapes`.

    >>> import torch
    >>> shapes = coarse_shapes((4, 4), 2)
    >>> coarse, rest = pyramid(torch.arange(16.0), shapes)
    >>> coarse, torch.equal(assembled([coarse, rest], shapes), torch.arange(16.0))
    (tensor([ 2.5000,  4.5000, 10.5000, 12.5000]), True)
    """
    parts = []
    for shape in reversed(shapes[1:]):
        parts.append(residual(x, shape))
        x = halved(x, shape)
    return [x, *reversed(parts)]


def assembled(parts: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> Tensor:
    """x of its :func:`pyramid`."""
    x = parts[0]
    for part, shape in zip(parts[1:], shapes[1:], strict=True):
        x = doubled(x, shape) + part
    return x
