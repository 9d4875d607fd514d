"""Matrix products of a graph, each by the library that takes less time for it: MKL, or oneDNN.

Which of the two is faster hangs on the processor (MKL has no AVX-512 path on processors other than Intel's), on the
shape and on where the factors lie. It is not guessed: :func:`timed` runs both on the machine at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, fx

from ppgen.machine.timing import Timing, in_turn

__all__ = ["Product", "has_onednn", "shared_out", "timed"]

aten = torch.ops.aten

_LEAST_WORK = 1_000_000
"""Multiplications from which a product takes longer than a call of an operator that Inductor does not know."""

_MOST_WORK = 32_000_000
"""Multiplications above which a product is timed by a part of it, a few milliseconds on one core."""


class Product(NamedTuple):
    """(rows, inner) @ (inner, columns), and a bias (columns,) added: a float32 product on a CPU.

    Args:
        rows, inner, columns: its sizes.
        left, right: ``"n"`` for a factor whose rows lie together, ``"t"`` for any other.
        bias: whether one is added.
    """

    rows: int
    inner: int
    columns: int
    left: str
    right: str
    bias: bool

    def __str__(self) -> str:
        return f"{self.rows}x{self.inner}x{self.columns} {self.left}{self.right}{'+' if self.bias else ''}"

    @property
    def work(self) -> int:
        """Multiplications."""
        return self.rows * self.inner * self.columns

    @property
    def part(self) -> Self:
        """One like it of at most :data:`_MOST_WORK`: its largest side is halved until it is small enough."""
        part = self
        while part.work > _MOST_WORK:
            side = max(("rows", "inner", "columns"), key=lambda name: getattr(part, name))
            part = part._replace(**{side: getattr(part, side) // 2})
        return part

    @classmethod
    def of(cls, node: fx.Node) -> Self | None:
        """The product that a node of a graph is; None of one that is small, of another type or on a device."""
        if node.op != "call_function" or node.target not in (aten.mm.default, aten.addmm.default) or node.kwargs:
            return None
        left, right = (argument.meta["val"] for argument in node.args[-2:])  # type: ignore[union-attr]  # they are nodes
        if left.device.type != "cpu" or left.dtype != torch.float32:
            return None
        lies = ("n" if left.is_contiguous() else "t", "n" if right.is_contiguous() else "t")
        (rows, inner), columns = left.shape, right.shape[1]
        product = cls(rows, inner, columns, *lies, bias=node.target is aten.addmm.default)
        return product if product.work >= _LEAST_WORK else None


def has_onednn() -> bool:
    """Whether this torch has oneDNN's product."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def shared_out(graph: fx.GraphModule, choose: Callable[[Iterable[Product]], Container[Product]]) -> fx.GraphModule:
    """The graph with those of its products done by oneDNN that ``choose`` chooses.

    oneDNN's operator copies a left factor that is transposed, as that of a weight's gradient is, and slowly: Inductor
    copies it where it is made. Where torch has no oneDNN the graph stays as it is.
    """
    if not has_onednn():
        return graph
    products = {node: product for node in graph.graph.nodes if (product := Product.of(node)) is not None}
    chosen = choose(products.values())
    for node in (node for node, product in products.items() if product in chosen):
        *bias, left, right = node.args
        with graph.graph.inserting_before(node):
            if products[node].left == "t":
                left = graph.graph.call_function(aten.clone.default, (left,), _CONTIGUOUS)
            done = graph.graph.call_function(_linear(), (left, right, *(bias or [None])))
        done.meta = node.meta
        node.replace_all_uses_with(done)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def timed(product: Product) -> Timing:
    """By MKL and by oneDNN in turn, on factors of ones; what oneDNN copies of a factor counts."""
    left, right = (
        _factor(product.rows, product.inner, product.left),
        _factor(product.inner, product.columns, product.right),
    )
    bias = torch.ones(product.columns) if product.bias else None
    linear = _linear()

    def by_mkl() -> Tensor:
        return left @ right if bias is None else torch.addmm(bias, left, right)

    def by_onednn() -> Tensor:
        result: Tensor = linear(left.contiguous(), right, bias)
        return result

    with torch.no_grad():
        return in_turn(by_mkl, by_onednn)


def _factor(rows: int, columns: int, lies: str) -> Tensor:
    return torch.ones(rows, columns) if lies == "n" else torch.ones(columns, rows).t()


_CONTIGUOUS: dict[str, Any] = {"memory_format": torch.contiguous_format}


def _linear() -> Any:
    """The operator left @ right + bias, made the first time it is asked for."""
    if not hasattr(torch.ops.ppgen, "product"):
        _LIBRARY.define("product(Tensor left, Tensor right, Tensor? bias) -> Tensor")
        _LIBRARY.impl("product", _product, "CPU")
        torch.library.register_fake("ppgen::product", _shape_of_product, lib=_LIBRARY)
    return torch.ops.ppgen.product.default


def _product(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "none", [], "")
    return result


def _shape_of_product(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


_LIBRARY = torch.library.Library("ppgen", "FRAGMENT")
