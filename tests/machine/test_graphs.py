"""Steps become graphs, and passes over them leave values as they are."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro.distributions import OneHotCategorical
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from ppgen.machine.graphs import faster_products, graph_of, without_detach
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


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_large_products_go_to_onednn_and_keep_their_value(bias: bool, transposed: bool) -> None:
    def product(left: Tensor, right: Tensor, shift: Tensor) -> Tensor:
        left = left.t() if transposed else left
        return torch.addmm(shift, left, right) if bias else left @ right

    left, right, shift = torch.randn(200, 200), torch.randn(200, 300), torch.randn(300)
    graph = faster_products(make_fx(product)(left, right, shift))
    assert any("ppgen.product" in target for target in _targets(graph))
    assert ("aten.clone.default" in _targets(graph)) == transposed  # whose copy Inductor makes beside what came before
    # Sums of 200 products in float32, in another order.
    assert torch.allclose(graph(left, right, shift), product(left, right, shift), atol=1e-4)


@pytest.mark.parametrize(("size", "dtype"), [(10, torch.float32), (300, torch.float64)])
def test_small_and_double_products_stay(size: int, dtype: torch.dtype) -> None:
    square = torch.ones(size, size, dtype=dtype)
    assert _targets(faster_products(make_fx(torch.mm)(square, square))) == ["aten.mm.default"]


def test_a_buffer_of_whole_numbers_that_nothing_wrote_to_is_untouched() -> None:
    fresh, written = torch.arange(3), torch.arange(3)
    written.add_(1)
    assert _is_untouched(fresh, fresh)
    assert not _is_untouched(written, written)
    assert not _is_untouched(fresh, fresh.clone())
    assert not _is_untouched(torch.ones(3), torch.ones(3))
