"""The two stacks of masked convolutions: plain, with a blind spot, and gated, of two stacks, without.

Plain (van den Oord et al., 2016a, figure 5). A masked convolution sees, of the rows above, as many columns to the right
as its kernel has, so that a stack of them never sees a wedge above and to the right of the pixel: the blind spot.

    h_0 = conv_A(x),        h_{l+1} = h_l + conv_1(relu(conv_B(relu(conv_1(relu(h_l))))))

Gated (2016b, figure 2). A vertical stack v sees all rows above, with full kernels; a horizontal stack h sees its own
row left of the pixel, and v at it:

    a_l     = conv(v_l)                    v_{l+1} = gate(a_l)
    h_{l+1} = h_l + conv_1(gate(conv_row(h_l) + conv_1(a_l)))        gate(a, b) = tanh(a) sigmoid(b)

Both end with relu, conv_1, relu, conv_1. A constant plane of ones stands beside the picture: the padding is zeros, so
that how far the edge is can be seen.

Pixel Recurrent Neural Networks; Conditional Image Generation with PixelCNN Decoders. Van den Oord et al., both 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from ppgen.layers.dense import glorot
from ppgen.layers.raster import MaskedConv2d, Memory, RasterNetwork, first_layer, head, with_ones

__all__ = ["GatedStack", "PlainStack"]


class PlainStack(RasterNetwork):
    """Masked convolutions in residual blocks, of 2 F channels outside and F within.

    Args:
        num_colours: C.
        num_outputs: C P.
        filters: F.
        kernels: side of the kernel of each layer, odd; the first reads the picture.
        dilations: of each layer.
    """

    def __init__(
        self, num_colours: int, num_outputs: int, filters: int, kernels: Sequence[int], dilations: Sequence[int]
    ) -> None:
        super().__init__()
        self.reaches = [kernel // 2 * dilation for kernel, dilation in zip(kernels, dilations, strict=True)]
        self.first = first_layer(num_colours, 2 * filters, kernels[0], dilations[0])
        self.blocks = nn.ModuleList(
            _Block(filters, *sizes, num_colours) for sizes in zip(kernels[1:], dilations[1:], strict=True)
        )
        self.head = head(2 * filters, num_outputs, num_colours)

    def everywhere(self, x: Tensor) -> tuple[Tensor, list[Memory]]:
        memory = [self._padded(0, with_ones(x))]
        h = self.first(memory[0].padded)  # (N, 2 F, H, W)
        for number, block in enumerate(self.blocks, 1):
            memory.append(self._padded(number, h))
            h = h + block(memory[-1].padded)
        return self.head(h), memory

    def see(self, memory: list[Memory], row: int, column: int, pixel: Tensor) -> None:
        memory[0].write(row, column, pixel)

    def begin_row(self, memory: list[Memory], row: int) -> None:
        """Nothing: a place is computed from those around it."""

    def at(self, memory: list[Memory], row: int, column: int) -> Tensor:
        around = [
            each.around(row, column, reach, reach, reach) for each, reach in zip(memory, self.reaches, strict=True)
        ]
        h = self.first(around[0])  # (N, 2 F, 1, 1)
        for number, block in enumerate(self.blocks, 1):
            memory[number].write(row, column, h[..., 0, 0])
            h = h + block(around[number])
        outputs: Tensor = self.head(h)
        return outputs[..., 0, 0]

    def _padded(self, number: int, maps: Tensor) -> Memory:
        reach = self.reaches[number]
        return Memory(pad(maps, (reach, reach, reach, 0)), reach, reach)


class _Block(nn.Module):
    """What a residual block adds, of a padded map, or at one place of what is around it."""

    def __init__(self, filters: int, kernel: int, dilation: int, num_colours: int) -> None:
        super().__init__()
        reach = kernel // 2
        self.narrow = MaskedConv2d(2 * filters, filters, num_colours=num_colours)
        self.masked = MaskedConv2d(filters, filters, (reach + 1, kernel), reach, num_colours, dilation=dilation)
        self.wide = MaskedConv2d(filters, 2 * filters, num_colours=num_colours)

    def forward(self, padded: Tensor) -> Tensor:
        found: Tensor = self.wide(relu(self.masked(relu(self.narrow(relu(padded))))))
        return found


class GatedStack(RasterNetwork):
    """Gated layers of a vertical and a horizontal stack, F channels each; arguments as :class:`PlainStack` has them."""

    def __init__(
        self, num_colours: int, num_outputs: int, filters: int, kernels: Sequence[int], dilations: Sequence[int]
    ) -> None:
        super().__init__()
        self.layers: Any = nn.ModuleList(  # of _Gated
            _Gated(filters, kernel, dilation, num_colours, first=number == 0)
            for number, (kernel, dilation) in enumerate(zip(kernels, dilations, strict=True))
        )
        self.head = head(filters, num_outputs, num_colours)

    def everywhere(self, x: Tensor) -> tuple[Tensor, list[Memory]]:
        v = h = with_ones(x)
        memory = []
        for layer in self.layers:
            above, left = layer.padded(v, h)
            told = layer.vertical(above.padded)  # (N, 2 F, H, W)
            v, h = _gate(told), layer.along(left.padded, told, h)
            memory += [above, left, Memory(told, 0, 0)]
        return self.head(h), memory

    def see(self, memory: list[Memory], row: int, column: int, pixel: Tensor) -> None:
        for picture in memory[:2]:
            picture.write(row, column, pixel)

    def begin_row(self, memory: list[Memory], row: int) -> None:
        for number, layer in enumerate(self.layers):
            told = layer.vertical(memory[3 * number].padded[:, :, row : row + layer.rows])  # (N, 2 F, 1, W)
            memory[3 * number + 2].write(row, None, told[:, :, 0])
            if number + 1 < len(self.layers):
                memory[3 * number + 3].write(row, None, _gate(told)[:, :, 0])

    def at(self, memory: list[Memory], row: int, column: int) -> Tensor:
        h = memory[1].around(row, column, 0, 0, 0)
        for number, layer in enumerate(self.layers):
            left, told = memory[3 * number + 1 : 3 * number + 3]
            if number:
                left.write(row, column, h[..., 0, 0])
            before = left.around(row, column, 0, layer.reach, 0)
            h = layer.along(before, told.around(row, column, 0, 0, 0), h)
        outputs: Tensor = self.head(h)
        return outputs[..., 0, 0]


class _Gated(nn.Module):
    """A layer of both stacks. The first sees rows above alone, and itself not; it adds nothing to what it reads."""

    def __init__(self, filters: int, kernel: int, dilation: int, num_colours: int, *, first: bool) -> None:
        super().__init__()
        inputs, reach = num_colours + 1 if first else filters, kernel // 2
        self.first, self.reach = first, reach * dilation
        self.below = dilation if first else 0  # rows that the vertical stack leaves unread: the pixel's own
        self.rows = self.reach + 1 - self.below  # that it spans
        self.vertical = glorot(
            nn.Conv2d(inputs, 2 * filters, (reach if first else reach + 1, kernel), dilation=dilation)
        )
        self.told = glorot(nn.Conv2d(2 * filters, 2 * filters, 1))
        self.row = MaskedConv2d(
            inputs,
            2 * filters,
            (1, reach + 1),
            reach,
            num_colours,
            sees_itself=not first,
            num_constant=int(first),
            num_parts=2,
            dilation=dilation,
        )
        self.out = MaskedConv2d(filters, filters, num_colours=num_colours)

    def padded(self, v: Tensor, h: Tensor) -> tuple[Memory, Memory]:
        """Both stacks' maps with what their kernels read around them; the first leaves the last row unread."""
        reach = self.reach
        return (
            Memory(pad(v, (reach, reach, reach, -self.below)), reach, reach),
            Memory(pad(h, (reach, 0, 0, 0)), 0, reach),
        )

    def along(self, left: Tensor, told: Tensor, h: Tensor) -> Tensor:
        found: Tensor = self.out(_gate(self.row(left) + self.told(told)))
        return found if self.first else h + found


def _gate(maps: Tensor) -> Tensor:
    """tanh of the first half of the channels times the logistic function of the second, colour by colour."""
    a, b = maps.chunk(2, 1)
    return a.tanh() * b.sigmoid()
