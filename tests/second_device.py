"""A second device where there is no GPU: tensors that say they are on ``cuda:0`` and hold values of the CPU.

Within :class:`SecondDevice` an operation on tensors of both kinds is an error, as on a GPU (but for single numbers of
the CPU), and all else runs on the values. So a tensor that was left on the CPU is found, and ``.item()`` works.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["SecondDevice", "moved", "there"]

aten = torch.ops.aten

CUDA = torch.device("cuda:0")

M = TypeVar("M", bound=nn.Module)


class There(Tensor):
    """torch's own code sees a meta tensor, whose values it cannot ask for; Python sees one on ``cuda:0``."""

    held: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        made: There = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device("meta"),
            requires_grad=inner.requires_grad,
        )
        made.held = inner
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"There({self.held})"

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return run(func, args, kwargs or {})


class SecondDevice(TorchDispatchMode):
    """Within it the second device can be asked for by ``device="cuda"``."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on the values, and its result where it belongs."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    here = [tensor for tensor in tensors if isinstance(tensor, There)]
    asked = kwargs.get("device")
    moves = func in (aten._to_copy.default, aten.copy_.default, aten.index.Tensor)  # an index may be on the CPU
    if here and not moves and any(not isinstance(tensor, There) and tensor.dim() for tensor in tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu in {func}")
    goes = bool(here) if asked is None else torch.device(asked).type in ("cuda", "meta")
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if func is aten.copy_.default or (func._schema.name.split("::")[1].endswith("_") and isinstance(args[0], There)):
        return args[0]
    return tree_map(there, result) if goes else result


def _inner(value: Any) -> Any:
    return value.held if isinstance(value, There) else value


def there(value: Any) -> Any:
    """A tensor on the second device; anything else as it is."""
    return There(value) if isinstance(value, Tensor) and not isinstance(value, There) else value


def moved(module: M) -> M:
    """The module with its parameters and buffers on the second device."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(There(parameter.detach().clone()), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            part._buffers[name] = there(buffer)
    return module
