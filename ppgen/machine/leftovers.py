"""What an earlier call of a step left behind, found in the graph of the next: it would stay there as a constant.

A step is a function of its arguments. A module that computes from what it remembers of the call before, such as a
cached encoding or a moving mean kept as an attribute, makes it more than that, and a graph would hold the memory of
the one call before tracing for ever. What was made of a call's arguments (or drawn in it) and stands in the graph of
the next call as a constant is such a memory. A constant that is made of constants, at the first call or before, is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ppgen.errors import shown

__all__ = ["Descendants", "RememberedError"]


class RememberedError(RuntimeError):
    """A step computes from what an earlier call of it left behind."""


class Descendants(TorchDispatchMode):
    """Within it, notes all that is computed from ``tensors``, and all that is drawn.

    Args:
        tensors: the arguments of a call.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
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

    def held_by(self, module: nn.Module) -> dict[int, str]:
        """Names of the module's attributes that hold one of them, for :meth:`check`; parameters and buffers aside."""
        held: dict[int, str] = {}
        for name, part in module.named_modules():
            for attribute, value in vars(part).items():
                found = [] if attribute in ("_parameters", "_buffers") else _tensors(value)
                held |= {_address(tensor): f"{name}.{attribute}".lstrip(".") for tensor in found if tensor in self}
        return held

    def check(self, graph: fx.GraphModule, held: Mapping[int, str]) -> None:
        """No constant of the graph of the next call is among them.

        Args:
            graph: of the next call.
            held: from :meth:`held_by`, asked between the two calls.

        Raises:
            RememberedError: one is.
        """
        for node in graph.graph.find_nodes(op="get_attr"):
            constant = getattr(graph, node.target)
            if torch.is_tensor(constant) and constant in self:
                who = f"{shown(held.get(_address(constant), 'a tensor'))}, of shape {tuple(constant.shape)},"
                raise RememberedError(f"the step computes from {who} which is left from an earlier call")

    def _note(self, tensors: Iterable[Tensor], descends: bool) -> None:
        for tensor in tensors:
            address = _address(tensor)
            if descends and tensor.layout == torch.strided:
                self._storages[address] = StorageWeakRef(tensor.untyped_storage())
            else:
                self._storages.pop(address, None)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor))


def _address(tensor: Tensor) -> int:
    """Of its storage, which views share; of itself where it has none (sparse tensors)."""
    address: int = tensor.untyped_storage()._cdata if tensor.layout == torch.strided else -id(tensor)
    return address
