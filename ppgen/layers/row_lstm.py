"""The Row LSTM: a picture read row by row from above, each row by an LSTM whose states are those of the row above.

    a_r     = conv_row(h^in_r) + conv_1x3(h_{r-1})        the first masked, of its own row; the second of the row above
    o, f, i, g = sigmoid, sigmoid, sigmoid, tanh of the parts of a_r
    c_r     = f c_{r-1} + i g,        h_r = o tanh(c_r),        h^out_r = h^in_r + conv_1(h_r)

What a pixel sees above widens by a kernel's reach a row, to both sides: a triangle, and not all that is above.

Pixel Recurrent Neural Networks, van den Oord, Kalchbrenner and Kavukcuoglu, 2016, section 3.1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ppgen.layers.dense import glorot
from ppgen.layers.raster import MaskedConv2d, Memory, RasterNetwork, first_layer, head, with_ones

__all__ = ["RowLSTM"]


class RowLSTM(RasterNetwork):
    """Row LSTMs of F units in residual blocks, 2 F channels outside.

    Args:
        num_colours: C.
        num_outputs: C P.
        filters: F.
        num_layers: of LSTMs.
        first_kernel: side of the first convolution's kernel, odd.
        kernel: width of the kernels within, odd.
    """

    def __init__(
        self, num_colours: int, num_outputs: int, filters: int, num_layers: int, first_kernel: int, kernel: int
    ) -> None:
        super().__init__()
        self.reach = first_kernel // 2
        self.first = first_layer(num_colours, 2 * filters, first_kernel)
        self.layers: Any = nn.ModuleList(_Layer(filters, kernel, num_colours) for _ in range(num_layers))
        self.head = head(2 * filters, num_outputs, num_colours)

    def everywhere(self, x: Tensor) -> tuple[Tensor, list[Memory]]:
        memory = [Memory(pad(with_ones(x), (self.reach, self.reach, self.reach, 0)), self.reach, self.reach)]
        maps = self.first(memory[0].padded)  # (N, 2 F, H, W)
        for layer in self.layers:
            states, read = layer(maps)
            maps = maps + layer.out(states)
            memory += read
        return self.head(maps), memory

    def see(self, memory: list[Memory], row: int, column: int, pixel: Tensor) -> None:
        memory[0].write(row, column, pixel)

    def begin_row(self, memory: list[Memory], row: int) -> None:
        """Nothing: a place is computed from the states of the row above."""

    def at(self, memory: list[Memory], row: int, column: int) -> Tensor:
        h = self.first(memory[0].around(row, column, self.reach, self.reach, self.reach))  # (N, 2 F, 1, 1)
        for number, layer in enumerate(self.layers):
            h = h + layer.out(layer.at(memory[3 * number + 1 : 3 * number + 4], h[..., 0, 0], row, column))
        outputs: Tensor = self.head(h)
        return outputs[..., 0, 0]


class _Layer(nn.Module):
    """One LSTM: what it reads of its own row, of the row above, and what it adds."""

    def __init__(self, filters: int, kernel: int, num_colours: int) -> None:
        super().__init__()
        self.reach = kernel // 2
        self.row = MaskedConv2d(2 * filters, 4 * filters, (1, self.reach + 1), self.reach, num_colours, num_parts=4)
        self.above = glorot(nn.Conv2d(filters, 4 * filters, (1, kernel)))
        self.out = MaskedConv2d(filters, 2 * filters, num_colours=num_colours)

    def forward(self, maps: Tensor) -> tuple[Tensor, list[Memory]]:
        """Maps (N, 2 F, H, W) to states (N, F, H, W), and what places are computed from: maps, states, cells."""
        left = Memory(pad(maps, (self.reach, 0, 0, 0)), 0, self.reach)
        gates = self.row(left.padded)  # (N, 4 F, H, W)
        cell = state = torch.zeros_like(gates[:, : gates.shape[1] // 4, :1])  # (N, F, 1, W)
        cells, states = [cell], [state]
        for row in gates.split(1, 2):
            state, cell = _lstm(row + self.above(pad(state, (self.reach, self.reach))), cell)
            cells.append(cell)
            states.append(state)
        told, kept = torch.cat(states, 2), torch.cat(cells, 2)  # (N, F, 1 + H, W)
        return told[:, :, 1:], [left, Memory(pad(told, (self.reach, self.reach)), 1, self.reach), Memory(kept, 1, 0)]

    def at(self, memory: list[Memory], h: Tensor, row: int, column: int) -> Tensor:
        """The state at one place, (N, F, 1, 1), of the numbers ``h`` there, (N, 2 F)."""
        left, states, cells = memory
        left.write(row, column, h)
        gates = self.row(left.around(row, column, 0, self.reach, 0))
        told = self.above(states.around(row, column, 1, self.reach, self.reach)[:, :, :1])
        state, cell = _lstm(gates + told, cells.around(row, column, 1, 0, 0)[:, :, :1])
        states.write(row, column, state[..., 0, 0])
        cells.write(row, column, cell[..., 0, 0])
        return state


def _lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The next state and cell."""
    output, forget, enter, value = gates.chunk(4, 1)
    cell = forget.sigmoid() * cell + enter.sigmoid() * value.tanh()
    return output.sigmoid() * cell.tanh(), cell
