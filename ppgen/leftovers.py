"""What an earlier call of a step left behind, found in the graph of the next: it would stay there as a constant.

A step is a function of its arguments. A module that computes from what it remembers of the call before, such as a
cached encoding or a moving mean kept as an attribute, makes it more than that, and a graph would hold the memory of
the one call before tracing for ever. What was made of a call's arguments (or drawn in it) and stands in the graph of
the next call as a constant is such a memory. A constant that is made of constants, at the first call or before, is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Descendants", "Remembered"]


class Remembered(RuntimeError):
    """A step computes from what an earlier call of it left behind."""


class Descendants(TorchDispatchMode):
    """Within it, notes all that is computed from ``tensors``, and all that is drawn.

    Args:
        tensors: the arguments of a call.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self._storages: dict[int, StorageWeakRef] = {}  # weakly held: a storage's address is not given to another
        self._note(tensors, True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = list(_tensors((args, kwargs)))
        descends = torch.Tag.nondeterministic_seeded in func.tags or any(map(self.__contains__, given))
        result = func(*args, **(kwargs or {}))
        made = list(_tensors(result))
        self._note(made or (given if descends else ()), descends)
        return result

    def __contains__(self, tensor: Tensor) -> bool:
        return _address(tensor) in self._storages

    def check(self, graph: fx.GraphModule, module: nn.Module | None = None) -> None:
        """No constant of the graph of the next call is among them.

        Args:
            graph: of the next call.
            module: where to look for who holds it, for the sentence.

        Raises:
            Remembered: one is.
        """
        for node in graph.graph.find_nodes(op="get_attr"):
            constant = getattr(graph, node.target)
            if torch.is_tensor(constant) and constant in self:
                who = f"{_holder(module, constant)!r}, of shape {tuple(constant.shape)},"
                raise Remembered(f"the step computes from {who} which is left from an earlier call")

    def _note(self, tensors: Iterable[Tensor], descends: bool) -> None:
        for tensor in tensors:
            if (address := _address(tensor)) is None:
                continue
            if descends:
                self._storages[address] = StorageWeakRef(tensor.untyped_storage())
            else:
                self._storages.pop(address, None)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor))


def _address(tensor: Tensor) -> int | None:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else None


def _holder(module: nn.Module | None, constant: Tensor) -> str:
    """The name of the attribute that holds it."""
    for name, part in module.named_modules() if module is not None else ():
        for attribute, value in vars(part).items():
            if any(_address(tensor) == _address(constant) for tensor in _tensors(value)):
                return f"{name}.{attribute}" if name else attribute
    return "a tensor"
