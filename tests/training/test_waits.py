"""What a step may not do within a CUDA graph is out of its own graph: copies from the CPU, looks at values by draws."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ppgen.machine.graphs import _multinomial, _normal, constants_moved, graph_of
from tests.second_device import There

copied = torch.ops.aten._to_copy.default


def test_a_constant_is_held_where_the_graph_copies_it() -> None:
    graph = graph_of(lambda x: x + torch.arange(3.0).to(x.device), torch.ones(3, device="meta"))
    assert graph.graph.find_nodes(op="call_function", target=copied)
    held = constants_moved(graph)
    assert not held.graph.find_nodes(op="call_function", target=copied)
    assert [buffer.device.type for buffer in held.buffers()] == ["meta"]


def test_a_copy_of_what_is_drawn_or_given_stays() -> None:
    graph = graph_of(
        lambda x, y: x + torch.rand(3).to(x.device) + y.to(x.device), torch.ones(3).to("meta"), torch.ones(3)
    )
    assert len(constants_moved(graph).graph.find_nodes(op="call_function", target=copied)) == 2


@pytest.mark.parametrize(
    ("ours", "torchs", "arguments"),
    [
        (_multinomial, torch.multinomial, (torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.7, 0.3]]), 1)),
        (_normal, torch.normal, (torch.arange(6.0).view(2, 3), torch.tensor([0.5, 1.0, 2.0]).expand(2, 3))),
    ],
    ids=["a category", "a normal distribution"],
)
def test_draws_without_a_look_are_those_of_torch(
    ours: Callable[..., Tensor], torchs: Callable[..., Tensor], arguments: tuple[object, ...]
) -> None:
    torch.manual_seed(0)
    expected = torchs(*arguments)
    torch.manual_seed(0)
    found = ours(*(There(value) if torch.is_tensor(value) else value for value in arguments))
    assert isinstance(found, There)
    assert torch.equal(found.held, expected)


def test_on_a_cpu_torch_draws_itself() -> None:
    assert _multinomial(torch.ones(2), 1) is NotImplemented
    assert _normal(torch.ones(2), torch.ones(2)) is NotImplemented
