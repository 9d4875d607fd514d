"""Products of matrices are shared out between two libraries, and keep their values."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from ppgen.machine.products import Product, has_onednn, shared_out, timed

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")


def _targets(graph: torch.fx.GraphModule) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


@needs_onednn
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_chosen_products_go_to_onednn_and_keep_their_value(bias: bool, transposed: bool) -> None:
    def product(left: Tensor, right: Tensor, shift: Tensor) -> Tensor:
        left = left.t() if transposed else left
        return torch.addmm(shift, left, right) if bias else left @ right

    left, right, shift = torch.randn(200, 200), torch.randn(200, 300), torch.randn(300)
    graph = shared_out(make_fx(product)(left, right, shift), set)
    assert any("ppgen.product" in target for target in _targets(graph))
    assert ("aten.clone.default" in _targets(graph)) == transposed  # whose copy Inductor makes beside what came before
    # Sums of 200 products in float32, in another order.
    assert torch.allclose(graph(left, right, shift), product(left, right, shift), atol=1e-4)


@pytest.mark.parametrize(
    ("size", "dtype", "choose"), [(10, "float32", set), (300, "float64", set), (300, "float32", ())]
)
def test_small_double_and_other_products_stay(size: int, dtype: str, choose: type | tuple[()]) -> None:
    square = torch.ones(size, size, dtype=getattr(torch, dtype))
    graph = shared_out(make_fx(torch.mm)(square, square), choose if callable(choose) else lambda products: set())
    assert _targets(graph) == ["aten.mm.default"]


def test_a_product_is_named_by_its_shape_and_by_where_its_factors_lie() -> None:
    asked: list[Product] = []

    def choose(products: Iterable[Product]) -> set[Product]:
        asked.extend(products)
        return set()

    x, w, b = torch.ones(100, 784), torch.ones(200, 784), torch.ones(200)
    shared_out(make_fx(lambda x, w, b: (torch.addmm(b, x, w.t()), x.t() @ (x @ w.t())))(x, w, b), choose)
    assert [str(product) for product in asked] == ["100x784x200 nt+", "100x784x200 nt", "784x100x200 tn"]


def test_a_large_product_is_timed_by_a_part_that_is_not_too_small() -> None:
    large = Product(5_000, 784, 200, "n", "t", bias=True)
    assert 16_000_000 < large.part.work <= 32_000_000
    assert large.part == Product(312, 392, 200, "n", "t", bias=True) == large.part.part


@needs_onednn
@pytest.mark.parametrize("lies", ["nn", "nt", "tn"])
def test_a_product_is_timed_by_both_libraries(lies: str) -> None:
    timing = timed(Product(64, 200, 100, *lies, bias="n" in lies))  # type: ignore[misc]
    assert timing.usual > 0
    assert timing.other > 0
