"""The precision of matrix products, all else in float32.

    float32    as torch takes them
    tf32       float32 numbers of whose significands an NVIDIA GPU (compute capability 8.0 on) multiplies the first 11
               bits, and adds the products up in float32; elsewhere they are as with float32
    bf16       both factors and the product rounded to bfloat16, whose significands have 8 bits

Products are those of matrices and convolutions, and those of their gradients. What is added to a product, a bias, is
added in float32, and so is all else: activations, log-densities, log-weights, reductions, parameters, the optimizer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ppgen.errors import UsageError, shown

__all__ = ["Precision", "allowing_tf32", "check_precision", "products_in"]

Precision = Literal["float32", "tf32", "bf16"]

aten = torch.ops.aten


def products_in(precision: Precision) -> AbstractContextManager[Any]:
    """Within it operators round their factors to ``bf16``; a graph that is traced within has the roundings in it."""
    return nullcontext() if precision != "bf16" else _RoundedProducts()  # type: ignore[no-untyped-call]  # torch's own


def allowing_tf32(precision: Precision) -> AbstractContextManager[Any]:
    """Within it cuBLAS may take products in ``tf32``: what runs, compiles or is captured there; it is put back."""
    return _cublas_in_tf32() if precision == "tf32" else nullcontext()


def check_precision(precision: Precision, module: nn.Module) -> None:
    """Check that a module can be trained so; on a CPU, where ``tf32`` is float32, a warning says so.

    Raises:
        UsageError: a parameter is not in float32, which the other precisions are for.
    """
    if precision == "float32":
        return
    for name, parameter in module.named_parameters():
        if parameter.dtype != torch.float32:
            raise UsageError(
                f"precision {shown(precision)} rounds the products of float32, and parameter {shown(name)} is in "
                f"{str(parameter.dtype).removeprefix('torch.')}: leave precision out, or make the pair in float32."
            )
    if precision == "tf32" and not any(parameter.is_cuda for parameter in module.parameters()):
        warnings.warn("precision 'tf32' is a GPU's: on this CPU products are taken in float32.", stacklevel=2)


@contextmanager
def _cublas_in_tf32() -> Iterator[None]:
    matmul = torch.backends.cuda.matmul
    is_named = hasattr(matmul, "fp32_precision")  # from torch 2.9 on, beside the older switch
    before = matmul.fp32_precision if is_named else matmul.allow_tf32
    matmul.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32 = before in ("tf32", True)
        if is_named:
            matmul.fp32_precision = before


class _RoundedProducts(TorchDispatchMode):
    """Beneath autograd, so that the products of gradients are among those that it sees."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        product = _PRODUCTS.get(func) if _is_float32(args) else None
        return (product or func)(*args, **(kwargs or {}))


def _is_float32(args: tuple[Any, ...]) -> bool:
    return all(value.dtype == torch.float32 for value in args if isinstance(value, Tensor))


def _of_two(multiply: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def product(left: Tensor, right: Tensor) -> Tensor:
        return multiply(left.bfloat16(), right.bfloat16()).float()

    return product


def _and_added(multiply: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def product(added: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        found = multiply(left.bfloat16(), right.bfloat16()).float()
        return (added if beta == 1 else beta * added) + (found if alpha == 1 else alpha * found)

    return product


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    found: Tensor = aten.convolution.default(x.bfloat16(), weight.bfloat16(), None, *how).float()
    return found if bias is None else found + bias.view(-1, *(1,) * (weight.dim() - 2))


def _convolution_backward(
    slope: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, *how: Any
) -> tuple[Tensor | None, ...]:
    *rest, (of_x, of_weight, of_bias) = how
    rounded = slope.bfloat16(), x.bfloat16(), weight.bfloat16()
    found = aten.convolution_backward.default(*rounded, None, *rest, [of_x, of_weight, False])
    summed = slope.sum([0, *range(2, slope.dim())]) if of_bias else None
    return *(None if value is None else value.float() for value in found[:2]), summed


_PRODUCTS: dict[Any, Callable[..., Any]] = {
    aten.mm.default: _of_two(aten.mm.default),
    aten.bmm.default: _of_two(aten.bmm.default),
    aten.mv.default: _of_two(aten.mv.default),
    aten.addmm.default: _and_added(aten.mm.default),
    aten.baddbmm.default: _and_added(aten.bmm.default),
    aten.addmv.default: _and_added(aten.mv.default),
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
}
