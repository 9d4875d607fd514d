"""Compiled steps without the wait: the graph that Inductor would be given, run as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from torch import Tensor, fx

__all__ = ["as_graphs"]


@contextmanager
def as_graphs() -> Iterator[set[str]]:
    """Within it a compiled step is its graph; what it gives is filled with the names of the graphs' operations.

    What Inductor makes of a graph is decided by its operations: where two steps hold the same ones, compiling one
    of them is enough.
    """
    operations: set[str] = set()

    def keep(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> fx.GraphModule:
        operations.update(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    with patch("ppgen.training.steps._inductor", keep):
        yield operations
