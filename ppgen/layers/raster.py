"""Networks of pictures in which a pixel sees those before it: rows from above, in each from the left.

    (N, C, H, W) -> (N, C P, H, W)        P numbers for each colour of each pixel

The numbers of colour k of the pixel in row i and column j are a function of the rows above i, of row i left of j, and
of the colours before k of the pixel itself: of what stands before it in raster order. Channels within the network
belong to a colour each, in C groups side by side, and those of a group see at the same pixel

    A    the groups before it        the first layer, which sees the picture
    B    the groups before it and its own        every other

(van den Oord et al., 2016, section 3.4). No weight reaches below or to the right: a kernel is made of rows from above
down to the pixel's own, and is masked in that one alone.

Computed at one place. Every layer is a convolution without padding of maps that were padded before it, so that the
same function that is given a whole map gives a whole map, and given what lies around one place gives that place. A draw
keeps the maps and computes each place of each once: as much arithmetic as one pass, where a pass for every pixel is
H W C of them.

Pixel Recurrent Neural Networks, van den Oord, Kalchbrenner and Kavukcuoglu, 2016.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

__all__ = ["MaskedConv2d", "Memory", "RasterNetwork", "first_layer", "head", "with_ones"]


class MaskedConv2d(nn.Conv2d):
    """A convolution without padding whose kernel ends, below, with the pixel's own row.

    Args:
        inputs: channels of what it reads.
        outputs: channels of what it gives.
        kernel: (rows, columns).
        place: the column of the kernel that is the pixel itself: what is right of it in the last row is masked.
        num_colours: groups of channels.
        sees_itself: B; False: A.
        num_constant: the last so many inputs are the same for every picture: every group sees them.
        num_parts: in which the outputs are halved, or more, each with channels of all groups.
        dilation: how far apart the kernel's rows and columns are.
    """

    mask: Tensor | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int] = (1, 1),
        place: int = 0,
        num_colours: int = 1,
        *,
        sees_itself: bool = True,
        num_constant: int = 0,
        num_parts: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__(inputs, outputs, kernel, dilation=dilation)
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]  # there is one
        read = _groups(inputs - num_constant, num_colours)
        read = torch.cat([read, torch.full((num_constant,), -1)])
        mask = torch.ones_like(self.weight)
        mask[:, :, -1, place + 1 :] = 0
        own = _groups(outputs // num_parts, num_colours).repeat(num_parts)[:, None]
        mask[:, :, -1, place] = (read <= own if sees_itself else read < own).to(mask)
        self.register_buffer("mask", None if bool(mask.all()) else mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.mask is None else self.weight * self.mask
        return conv2d(x, weight, self.bias, dilation=self.dilation)


class Memory:
    """A map that is filled place by place: padded, (N, F, above + H, left + W + right)."""

    def __init__(self, padded: Tensor, above: int, left: int) -> None:
        self.padded, self.above, self.left = padded, above, left

    def write(self, row: int, column: int | None, value: Tensor) -> None:
        """``value``, (N, F), in the first F channels of one column, or (N, F, W) of all."""
        row = self.above + row
        if row >= self.padded.shape[2]:
            return  # the last row of a map that nothing below it reads
        columns = slice(self.left, self.left + value.shape[-1]) if column is None else self.left + column
        self.padded[:, : value.shape[1], row, columns] = value

    def around(self, row: int, column: int, above: int, left: int, right: int) -> Tensor:
        """What lies around a place: (N, F, above + 1, left + 1 + right), so many rows and columns."""
        top, start = self.above + row - above, self.left + column - left
        return self.padded[:, :, top : self.above + row + 1, start : self.left + column + right + 1]


class RasterNetwork(nn.Module, ABC):
    """A picture to numbers for each of its pixels, which see what is before them.

    To add one: 1. subclass, 2. write ``everywhere`` and ``at``, which agree at every place.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C P, H, W)."""
        return self.everywhere(x)[0]

    @abstractmethod
    def everywhere(self, x: Tensor) -> tuple[Tensor, list[Memory]]:
        """What ``forward`` gives, and the maps from which single places can be computed again."""

    @abstractmethod
    def see(self, memory: list[Memory], row: int, column: int, pixel: Tensor) -> None:
        """Write a pixel, (N, C), into the maps that are the picture."""

    @abstractmethod
    def begin_row(self, memory: list[Memory], row: int) -> None:
        """Compute in all maps what the rows above this one tell of it."""

    @abstractmethod
    def at(self, memory: list[Memory], row: int, column: int) -> Tensor:
        """What ``forward`` gives at one place, (N, C P), the maps right for all before it; they are then at it, too."""


def with_ones(x: Tensor) -> Tensor:
    """A picture, (N, C, H, W), and a plane of ones beside its colours: past its edge are zeros, which tell the edge."""
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


def first_layer(num_colours: int, outputs: int, kernel: int, dilation: int = 1) -> MaskedConv2d:
    """What reads :func:`with_ones`, padded above, to the left and to the right: a square kernel of type A."""
    reach = kernel // 2
    return MaskedConv2d(
        num_colours + 1,
        outputs,
        (reach + 1, kernel),
        reach,
        num_colours,
        sees_itself=False,
        num_constant=1,
        dilation=dilation,
    )


def head(inputs: int, num_outputs: int, num_colours: int) -> nn.Sequential:
    """What ends a network: relu, conv_1, relu, conv_1."""
    wide, last = (MaskedConv2d(inputs, size, num_colours=num_colours) for size in (inputs, num_outputs))
    return nn.Sequential(nn.ReLU(), wide, nn.ReLU(), last)


def _groups(size: int, num_colours: int) -> Tensor:
    """The colour that each of ``size`` channels belongs to, (size,): groups side by side, as equal as they can be."""
    return torch.arange(size) * num_colours // max(size, 1)
