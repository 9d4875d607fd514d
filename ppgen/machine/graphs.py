"""A step as a graph, and passes over it before Inductor sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, fx
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from ppgen.errors import UsageError
from ppgen.machine.masking import Masks, Sizes

__all__ = ["by_the_cache", "constants_moved", "graph_of", "traced", "without_detach"]

aten = torch.ops.aten


def graph_of(function: Callable[..., Any], *arguments: Any) -> fx.GraphModule:
    """What ``function`` does to arguments of these shapes, as one graph.

    Raises:
        Exception: whatever tracing raised, when the function depends on values (``.item()``, ``if tensor > 0:``,
            ``x[mask]`` in other places than ``y[mask] = x[mask]``).
    """

    def with_fixed_sizes(*values: Any) -> Any:
        with Sizes():  # type: ignore[no-untyped-call]
            return function(*values)

    one_mode = FakeTensorMode(allow_fallback_kernels=True)  # which torch makes anew for every node where there is none
    with tracing(TracingContext(one_mode)), _WithoutChecks(), Masks():
        return make_fx(with_fixed_sizes, decomposition_table=_WITHOUT_LOOKS)(*arguments)


def by_the_cache() -> AbstractContextManager[Any]:
    """Within it Inductor looks on disk for what it made of an equal graph before, constants included: the second time a
    VAE's step then takes 1.3 s of a core instead of 6. It does so only where shapes may be symbols, as after Dynamo.
    """
    from torch.fx.experimental.symbolic_shapes import ShapeEnv  # slow to import, and of compiled steps alone

    return tracing(TracingContext(FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())))


def traced(function: Callable[..., Any], *arguments: Tensor) -> Callable[..., Any]:
    """``function`` as a graph for arguments of these shapes, or itself where it cannot be traced: only slower.

    The arguments must be tensors of their own: two places that share one would be one input. Its Python is gone,
    and it is not compiled: worth its price, about that of ten calls, where a function is called a hundred times.

    Raises:
        UsageError: as ``function`` does.
    """
    try:
        with torch.random.fork_rng():
            return without_detach(graph_of(function, *arguments))
    except UsageError:
        raise
    except Exception:
        return function


class _WithoutChecks(TorchFunctionMode):
    """torch's functions that read values only to check them, without the check: draws of ``OneHotCategorical``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_one_hot if func is torch.nn.functional.one_hot else func)(*args, **(kwargs or {}))


def _multinomial(probs: Tensor, num: int, replacement: bool = False, *, generator: Any = None) -> Any:
    """One draw on a GPU as torch makes it (an exponential race), without its look at the values."""
    if num != 1 or not probs.is_cuda or generator is not None:
        return NotImplemented
    return (probs / torch.empty_like(probs).exponential_(1)).argmax(-1, keepdim=True)


def _normal(mean: Tensor, std: Tensor, *, generator: Any = None) -> Any:
    """Draws on a GPU as torch makes them, without its look at whether every scale is positive."""
    if not std.is_cuda or generator is not None:
        return NotImplemented
    return torch.empty_like(mean * std).normal_() * std + mean


_WITHOUT_LOOKS: dict[Any, Callable[..., Any]] = {
    aten.multinomial.default: _multinomial,
    aten.normal.Tensor_Tensor: _normal,
}
"""Draws that wait for the device before they are made, which no CUDA graph may."""


def _one_hot(tensor: Tensor, num_classes: int) -> Tensor:
    return (tensor.unsqueeze(-1) == torch.arange(num_classes, device=tensor.device)).long()


def without_detach(graph: fx.GraphModule) -> fx.GraphModule:
    """The graph without ``detach``: the gradient is in it already, and without it equal subgraphs are merged."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and node.target is aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    return _tidy(graph)


def constants_moved(graph: fx.GraphModule) -> fx.GraphModule:
    """The graph with constants of the CPU that it copies to another device held there, where a copy would wait."""
    for number, node in enumerate(graph.graph.find_nodes(op="call_function", target=aten._to_copy.default)):
        if node.args[0].meta["val"].device.type != "cpu" or node.meta["val"].device.type == "cpu":
            continue
        value = _constant(graph, node)
        if value is not None:
            name = f"_moved_{number}"
            graph.register_buffer(name, value, persistent=False)
            with graph.graph.inserting_before(node):
                held = graph.graph.get_attr(name)
            held.meta = node.meta
            node.replace_all_uses_with(held)
            graph.graph.erase_node(node)
    return _tidy(graph)


def _constant(graph: fx.GraphModule, node: fx.Node) -> Tensor | None:
    """The value of a node that depends on no input and draws nothing; None of any other."""
    if node.op == "get_attr":
        value: Tensor = getattr(graph, str(node.target))
        return value
    if node.op != "call_function" or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        return None
    inputs = {source: _constant(graph, source) for source in node.all_input_nodes}
    if any(value is None for value in inputs.values()):
        return None
    given = fx.map_arg((node.args, node.kwargs), inputs.__getitem__)
    result: Tensor = node.target(*given[0], **given[1])  # type: ignore[operator]  # of a call it can be called
    return result


def _tidy(graph: fx.GraphModule) -> fx.GraphModule:
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph
