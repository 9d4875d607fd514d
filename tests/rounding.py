"""A processor that rounds otherwise: matrix products and sums come out one unit in the last place off.

Instruction sets and libraries sum terms in other orders, and choose the order by the shapes of what is summed: row 3 of
A B is not, to the bit, (row 3 of A) B. Under this mode that is so on every machine, and more often than on any. A test
that fails under it compares to the bit, or nearly, what is the same only to rounding.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["PRODUCTS", "SUMS", "RoundedOtherwise"]


def _aten(*names: str) -> frozenset[str]:
    return frozenset(f"aten::{name}" for name in names)


PRODUCTS = (
    _aten("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot")
    | _aten("convolution", "convolution_backward")
    # what comes whole under inference_mode, and as the ones above elsewhere
    | _aten("matmul", "linear", "einsum", "conv1d", "conv2d", "conv3d")
    | _aten("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
    | {"ppgen::product", "mkldnn::_linear_pointwise"}
)
"""The operators that multiply matrices, by the names of their schemas."""

SUMS = _aten("sum", "mean", "logsumexp", "linalg_vector_norm")
"""Those that add up the elements of one tensor."""


class RoundedOtherwise(TorchDispatchMode):
    """Within it each float32 or float64 element of a product or sum is the next number up or down, backward too.

    Which of the two hangs on the element's place and on the number of elements alone: the same product gives the same
    result again, and a datum's row another one in other company. What is exact in every order stays: whole numbers,
    and sums of a single term. A graph is recorded as it is, and rounds otherwise when it runs.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if get_proxy_mode() is not None or not _adds_up(func._schema.name, args, result):
            return result
        return pytree.tree_map_only(Tensor, _otherwise, result)


def _adds_up(name: str, args: Any, result: Any) -> bool:
    return name in PRODUCTS or (name in SUMS and result.numel() < args[0].numel())


def _otherwise(result: Tensor) -> Tensor:
    """The result, changed in place, so that ``out=`` holds it too."""
    if result.dtype not in _BITS or result.device.type != "cpu" or isinstance(result, FakeTensor):
        return result
    bits = _BITS[result.dtype]
    steps = _steps(result.numel(), bits).view(result.shape)
    result.view(bits).add_(steps * (result != result.round()))  # neighbours differ by 1 as integers
    return result


_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


@lru_cache(maxsize=256)
def _steps(count: int, dtype: torch.dtype) -> Tensor:
    """1 or -1 for each of ``count`` elements, (count,)."""
    place = torch.arange(count, device="cpu") * 2_654_435_761 + count * 40_503
    return ((place >> 13) % 2 * 2 - 1).to(dtype)
