"""Where the time of a training step goes: shares of its wall time by kind, from torch.profiler."""

import re
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

__all__ = ["KINDS", "profiled"]

KINDS = {
    "products of matrices": r"mm|addmm|bmm|baddbmm|_linear_pointwise|product",
    "Adam": r".*adam.*|.*Optimizer\.step.*",
    "random numbers": r"(.*normal|.*bernoulli|rand|randn|multinomial|.*gamma|.*dirichlet|exponential|uniform)(_.*|$)",
    "gradient norm": r".*norm",
    "fetch of the batch": r"index|index_select|gather",
    "numbers read": r"item|_local_scalar_dense|is_nonzero",
    "copies": r"copy_|clone|contiguous|cat|fill_|zero_|to|_to_copy",
}
"""Operators by kind, patterns of their names; what Inductor has generated, and Python between, is not an operator."""

REST = "generated loops and Python"
OTHER = "other operators"


def kind_of(name: str) -> str | None:
    """The kind of an event; None of one that is no operator: its own time is that of loops and Python within it."""
    bare = name.rpartition("::")[2]
    for kind, pattern in KINDS.items():
        if re.fullmatch(pattern, bare):
            return kind
    return OTHER if name.startswith("aten::") else None


def profiled(step: Callable[[], object], calls: int) -> dict[str, float]:
    """Shares of the time of so many calls, the largest first; operators that call others count without these."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(calls):
            step()
    events = [event for event in found.events() if event.cpu_parent is None]
    total = max(e.time_range.end for e in events) - min(e.time_range.start for e in events)
    shares: dict[str, float] = {}
    for event in found.key_averages():
        kind = kind_of(event.key)
        if kind is not None:
            shares[kind] = shares.get(kind, 0.0) + event.self_cpu_time_total / total
    shares[REST] = max(0.0, 1.0 - sum(shares.values()))
    return dict(sorted(shares.items(), key=lambda entry: -entry[1]))
