"""Where the time of a training step goes: shares of its wall time by kind, from torch.profiler."""

import re
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

__all__ = ["RECORDED", "profiled"]

KINDS = {
    "products of matrices": r"mm|addmm|bmm|baddbmm|_linear_pointwise|product",
    "generated loops": r"(graph_\d+_)?cpp_fused_.*",
    "Adam": r".*adam.*|.*Optimizer\.step.*",
    "random numbers": r"(.*normal|.*bernoulli|rand|randn|multinomial|.*gamma|.*dirichlet|exponential|uniform)(_.*|$)",
    "gradient norm": r".*norm",
    "fetch of the batch": r"index|index_select|gather",
    "numbers read": r"item|_local_scalar_dense|is_nonzero",
    "copies": r"copy_|clone|contiguous|cat|fill_|zero_|to|_to_copy",
}
"""What is recorded, by kind: patterns of names. The loops that Inductor has generated are, where it is told to."""

OTHER, REST = "other operators", "Python and the rest"
RECORDED = {"TORCHINDUCTOR_CPP_ENABLE_KERNEL_PROFILE": "1"}
"""Set where a step is profiled, before torch is imported."""


def kind_of(name: str) -> str | None:
    """The kind of an event; None of one that is a whole of others."""
    bare = re.sub(r"^aoti_torch_(cpu_)?|_out$", "", name.rpartition("::")[2])
    for kind, pattern in KINDS.items():
        if re.fullmatch(pattern, bare):
            return kind
    return OTHER if name.startswith(("aten::", "aoti_torch_")) else None


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
