"""Selections by a mask, in graphs: ``y[mask] = x[mask]`` says where, and tracing would write down how many.

The size of ``x[mask]`` depends on values, and a graph has fixed sizes: traced as it stands, it would select as many
numbers as there were while tracing. As ``torch.where(mask, x, y)`` it is the same assignment without the size.
"""

from __future__ import annotations

import linecache
import os
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, get_proxy_mode, get_proxy_slot
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Masks", "SizeError", "Sizes"]

aten = torch.ops.aten


class SizeError(RuntimeError):
    """A size or a branch depends on values, so that no graph can hold the step."""


@dataclass(frozen=True)
class _Selection:
    """What ``source[mask]`` stands for, until it is assigned to ``[mask]`` of another tensor of that shape."""

    token: Tensor
    source: Tensor
    mask: Tensor
    version: int


class Masks(TorchFunctionMode):
    """Rewrites assignments by mask, answers assertions about values, and refuses other uses of a selection.

    ``y[mask] = x[mask]``, ``y[mask] = number`` and ``assert (x > 0).all()`` are read; the last is what the eager run
    has checked at its own values.
    """

    def __init__(self) -> None:
        super().__init__()
        self._selections: dict[int, _Selection] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__bool__ and _is_asserted():
            return True
        if func is Tensor.__getitem__ and _is_mask(args[1]):
            return self._select(*args)
        if func is Tensor.__setitem__ and _is_mask(args[1]):
            return self._assign(*args)
        if self._selections and any(id(leaf) in self._selections for leaf in pytree.tree_leaves((args, kwargs))):
            raise SizeError("the size of x[mask] depends on values: use torch.where(mask, x, y)")
        return func(*args, **(kwargs or {}))

    def _select(self, source: Tensor, mask: Tensor) -> Tensor:
        token = source.new_empty(0)
        self._selections[id(token)] = _Selection(token, source, mask, source._version)
        return token

    def _assign(self, target: Tensor, mask: Tensor, value: Any) -> None:
        chosen = self._selections.get(id(value))
        wide = mask.reshape(*mask.shape, *(1,) * (target.dim() - mask.dim()))
        if chosen is None:
            few = value.dim() if torch.is_tensor(value) else 0
            if few > target.dim() - mask.dim():
                raise SizeError("the size of y[mask] depends on values: use torch.where(mask, x, y)")
            target.copy_(torch.where(wide, value, target))
            return
        same = chosen.mask is mask and chosen.source.shape == target.shape
        if not same or chosen.source._version != chosen.version:
            raise SizeError("x[mask] is assigned to another mask's or shape's y[mask]: use torch.where(mask, x, y)")
        target.copy_(torch.where(wide, chosen.source, target))


class Sizes(TorchDispatchMode):
    """Refuses operators whose result's size depends on values; a number read from a tensor is refused by tracing.

    What is made of constant whole numbers or masks alone (a permutation, the inputs that a masked layer sees) is a
    constant, whose numbers and sizes may be read.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if torch.is_tensor(leaf)]
        if given and not func._schema.is_mutable and all(map(_is_constant, given)):
            with disable_proxy_modes_tracing():
                return func(*args, **kwargs)
        if _depends_on_values(func, args):
            raise SizeError(f"the size of what {func.overloadpacket} gives depends on values")
        return func(*args, **kwargs)


_BY_INDEX = {aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default}


def _depends_on_values(func: Any, args: Any) -> bool:
    if func in _BY_INDEX:
        by_mask = any(_is_mask(index) for index in args[1])
        return by_mask and not (len(args) > 2 and args[2].numel() == 1)
    return torch.Tag.dynamic_output_shape in func.tags


def _is_mask(index: Any) -> bool:
    """Whether it selects by values that may be others at the next call."""
    return torch.is_tensor(index) and index.dtype in (torch.bool, torch.uint8) and not _is_constant(index)


def _is_constant(tensor: Tensor) -> bool:
    """Whether no input of the graph is in it, so far as that is told from whole numbers and masks."""
    mode = get_proxy_mode()
    if tensor.is_floating_point() or tensor.is_complex() or mode is None:
        return False
    return get_proxy_slot(tensor, mode.tracer, None) is None


_TORCH = f"{os.path.dirname(torch.__file__)}{os.sep}"


def _is_asserted() -> bool:
    """Whether the line of code that asks for a truth value is an ``assert`` statement."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_TORCH, __file__)):
        frame = frame.f_back
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("assert ")
