"""The precision of matrix products: what is rounded, and what is put back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.machine.graphs import graph_of
from ppgen.machine.precision import Precision, allowing_tf32, check_precision, products_in

ROUNDING = 2.0**-8
"""Half a unit in the last place of bfloat16, relative; a factor is off by at most as much."""

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: nn.Linear(6, 5),
    "without bias": lambda: nn.Linear(6, 5, bias=False),
    "convolution": lambda: nn.Sequential(nn.Unflatten(-1, (1, 6)), nn.Conv1d(1, 2, 3), nn.Flatten(-2)),
    "transposed": lambda: nn.Sequential(nn.Unflatten(-1, (1, 6)), nn.ConvTranspose1d(1, 2, 3), nn.Flatten(-2)),
}


def _numbers(layer: nn.Module, x: Tensor, precision: Precision = "bf16") -> list[Tensor]:
    """Output, and the gradient of its square by input and parameters."""
    x = x.clone().requires_grad_()
    with products_in(precision):
        y = layer(x)
        slopes = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
    return [y.detach(), *slopes]


@pytest.mark.parametrize("kind", LAYERS)
def test_products_and_those_of_gradients_are_rounded_to_bfloat16_and_stay_float32(kind: str) -> None:
    layer, x = LAYERS[kind](), torch.randn(7, 6)
    rounded, exact = _numbers(layer, x), _numbers(layer, x, "float32")
    for one, other in zip(rounded, exact, strict=True):
        assert one.dtype == torch.float32
        error = (one - other).norm() / other.norm()
        assert error < 8 * ROUNDING  # factors and products of two layers of derivatives
    assert not torch.equal(rounded[0], exact[0])


def test_a_bias_is_added_in_float32() -> None:
    layer, x = nn.Linear(6, 5), torch.zeros(7, 6)
    assert torch.equal(_numbers(layer, x)[0], layer.bias.expand(7, 5))


def test_a_product_and_what_it_is_added_to_have_their_factors() -> None:
    added, left, right = torch.full((2, 2), 3.0), torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    with products_in("bf16"):
        found = torch.addmm(added, left, right, beta=0.5, alpha=2.0)
    assert torch.equal(found, 0.5 * added + 2 * right)


def test_a_graph_that_is_traced_within_has_the_roundings_in_it() -> None:
    layer, x = LAYERS["dense"](), torch.randn(7, 6)

    def product(x: Tensor) -> Tensor:
        with products_in("bf16"):
            result: Tensor = layer(x)
            return result

    with torch.no_grad():
        graph = graph_of(product, x)
        assert torch.equal(graph(x), product(x))
        assert not torch.equal(graph(x), layer(x))


def test_products_of_other_types_stay() -> None:
    x = torch.randn(4, 4, dtype=torch.float64)
    expected = x @ x
    with products_in("bf16"):
        assert torch.equal(x @ x, expected)


def test_float32_is_to_the_bit_what_torch_does() -> None:
    layer, x = nn.Linear(6, 5), torch.randn(7, 6)
    with products_in("float32"), allowing_tf32("float32"):
        assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
        assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("before", [False, True])
def test_tf32_is_allowed_within_and_put_back(before: bool) -> None:
    matmul = torch.backends.cuda.matmul
    named = matmul.fp32_precision
    try:
        matmul.allow_tf32 = before
        with allowing_tf32("tf32"):
            assert matmul.allow_tf32
        assert matmul.allow_tf32 == before
    finally:
        matmul.allow_tf32, matmul.fp32_precision = False, named


def test_what_torch_was_left_to_choose_is_left_to_it_again() -> None:
    matmul = torch.backends.cuda.matmul
    named = matmul.fp32_precision
    try:
        matmul.fp32_precision = "none"
        with allowing_tf32("tf32"):
            pass
        assert matmul.fp32_precision == "none"
    finally:
        matmul.fp32_precision = named


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_are_for_float32(precision: Precision) -> None:
    module = nn.Linear(2, 2).double()
    check_precision("float32", module)
    with pytest.raises(UsageError, match=f"precision '{precision}' rounds the products of float32, and parameter"):
        check_precision(precision, module)


def test_tf32_is_said_to_be_float32_on_a_cpu() -> None:
    with pytest.warns(UserWarning, match="'tf32' is a GPU's: on this CPU products are taken in float32"):
        check_precision("tf32", nn.Linear(2, 2))
