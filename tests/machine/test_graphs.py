"""Steps become graphs, and passes over them leave values as they are."""

from __future__ import annotations

import pyro
import torch
from pyro.distributions import OneHotCategorical
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from ppgen.machine.graphs import graph_of, without_detach
from ppgen.training.steps import _is_untouched


def _targets(graph: torch.fx.GraphModule) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def test_a_one_hot_draw_is_traced_and_is_the_same_draw() -> None:
    def draw(logits: Tensor) -> Tensor:
        sample: Tensor = OneHotCategorical(logits=logits).sample()
        return sample

    with pyro.validation_enabled(False):
        graph = graph_of(draw, torch.zeros(4, 3))
    for logits in (torch.zeros(4, 3), torch.randn(4, 3)):
        torch.manual_seed(0)
        expected = draw(logits)
        torch.manual_seed(0)
        assert torch.equal(graph(logits), expected)


def test_detach_is_dropped() -> None:
    graph = without_detach(make_fx(lambda x: x.detach() * 2)(torch.ones(3)))
    assert _targets(graph) == ["aten.mul.Tensor"]
    assert torch.equal(graph(torch.ones(3)), 2 * torch.ones(3))


def test_a_buffer_of_whole_numbers_that_nothing_wrote_to_is_untouched() -> None:
    fresh, written = torch.arange(3), torch.arange(3)
    written.add_(1)
    assert _is_untouched(fresh, fresh)
    assert not _is_untouched(written, written)
    assert not _is_untouched(fresh, fresh.clone())
    assert not _is_untouched(torch.ones(3), torch.ones(3))
