"""Networks in raster order: what each pixel sees, all of what is before it and nothing else; places one by one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgen.layers.masked_convolutions import GatedStack, PlainStack
from ppgen.layers.raster import RasterNetwork
from ppgen.layers.row_lstm import RowLSTM

Offsets = set[tuple[int, int]]

SIDES = (4, 4)
THREE, TWO = (3,) * 4, (1, 2, 1, 2)

NETWORKS: dict[str, Callable[[int, int], RasterNetwork]] = {
    "plain": lambda colours, outputs: PlainStack(colours, outputs, 9, THREE[:3], (1, 1, 1)),
    "plain, dilated": lambda colours, outputs: PlainStack(colours, outputs, 9, THREE, TWO),
    "gated": lambda colours, outputs: GatedStack(colours, outputs, 9, THREE, (1,) * 4),
    "gated, dilated": lambda colours, outputs: GatedStack(colours, outputs, 9, (5, 3, 3), (1, 2, 1)),
    "gated, dilated at once": lambda colours, outputs: GatedStack(colours, outputs, 9, (5, 3), (2, 1)),
    "row lstm": lambda colours, outputs: RowLSTM(colours, outputs, 9, 2, 3, 3),
}


def made(name: str, colours: int, outputs: int) -> RasterNetwork:
    torch.manual_seed(3)
    network = NETWORKS[name](colours, outputs).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network


def changed(network: RasterNetwork, colours: int, num_pictures: int = 4) -> Tensor:
    """Which numbers, second, some change of each pixel changes, first, both in raster order; (D, D), bool."""
    height, width = SIDES
    size = colours * height * width
    found = torch.zeros(size, size, dtype=torch.bool)
    for _ in range(num_pictures):
        x = torch.randn(size).double().repeat(size, 1)
        moved = x + torch.eye(size).double()
        shape = (size, height, width, colours)
        with torch.no_grad():
            before, after = (network(each.reshape(shape).movedim(-1, 1)) for each in (x, moved))
        differ = (before != after).unflatten(1, (colours, -1)).any(2)  # (D, C, H, W)
        found |= differ.movedim(1, -1).reshape(size, size)
    return found


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_number_of_a_pixel_changes_with_it_or_what_comes_after(name: str, colours: int) -> None:
    """To the last bit."""
    assert not changed(made(name, colours, 2 * colours), colours, 1).tril().any()


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("name", ["gated", "gated, dilated"])
def test_the_gated_stacks_see_every_pixel_before(name: str, colours: int) -> None:
    """With a head in which no unit is ever dead."""
    network: Any = made(name, colours, 2 * colours)
    network.head[0] = network.head[2] = torch.nn.Softplus()
    seen = changed(network, colours, 2)
    assert seen[torch.ones_like(seen).triu(1)].all()


def within(offsets: Offsets, more: Offsets) -> Offsets:
    """What is seen through a layer on top of another, no farther than the picture is wide."""
    sums = {(a + c, b + d) for (a, b), (c, d) in product(offsets, more)}
    return {each for each in sums if max(map(abs, each)) < 2 * max(SIDES)}


ABOVE: Offsets = {(-1, -1), (-1, 0), (-1, 1), (0, -1)}
"""Of a masked kernel of side 3 and type A; of type B, with its own."""


def test_the_plain_stack_has_the_blind_spot_that_is_known_of_it() -> None:
    """Above and to the right, of a row so many columns as it is far: 3 layers see no farther than 3 either way."""
    seen = within(within(ABOVE, {*ABOVE, (0, 0)}), {*ABOVE, (0, 0)})
    assert (-1, 1) in seen
    assert (-1, 2) not in seen
    assert torch.equal(changed(made("plain", 1, 2), 1), of_offsets(seen))


def test_the_row_lstm_sees_a_triangle() -> None:
    """m rows above, m columns to the right, and to the left as far as kernels of the rows on the way reach."""
    lstm = {(-m, d) for m in range(SIDES[0]) for d in range(-m - 1, m + 1)}
    seen = within(within(ABOVE, lstm), lstm)
    assert (-3, 3) in seen
    assert (-1, 2) not in seen
    assert torch.equal(changed(made("row lstm", 1, 2), 1), of_offsets(seen))


def of_offsets(offsets: Offsets) -> Tensor:
    """As :func:`changed` has it, of pictures of one colour."""
    places = list(product(*map(range, SIDES)))
    rows = [[(of[0] - at[0], of[1] - at[1]) in offsets for at in places] for of in places]
    return torch.tensor(rows)


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_place_computed_by_itself_is_that_of_the_whole_pass(name: str, colours: int) -> None:
    """The maps begin with a picture of which nothing is right, and are told each pixel after its place."""
    network, x = made(name, colours, 2 * colours), torch.randn(2, colours, *SIDES).double()
    with torch.no_grad():
        whole, memory = network(x), network.everywhere(torch.zeros_like(x))[1]
        for row in range(SIDES[0]):
            network.begin_row(memory, row)
            for column in range(SIDES[1]):
                for colour in range(colours):
                    here = network.at(memory, row, column).unflatten(1, (colours, 2))[:, colour]
                    torch.testing.assert_close(here, whole.unflatten(1, (colours, 2))[:, colour, :, row, column])
                    network.see(memory, row, column, x[:, : colour + 1, row, column])


def test_the_edge_of_a_picture_is_seen() -> None:
    """A picture of zeros alone: numbers differ with how far the edge is."""
    with torch.no_grad():
        outputs = made("gated", 1, 2)(torch.zeros(1, 1, *SIDES).double())
    assert outputs[0, 0].unique().numel() > SIDES[0]
