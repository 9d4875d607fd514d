"""The bound of K particles and of fewer, from the same log-weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.pair import Pair
from ppgen.reductions import log_mean_exp
from ppgen.tracing import Batch
from ppgen.weights import log_weight_chunks

__all__ = ["bounds", "bounds_of", "sizes_to"]


def bounds(pair: Pair, batch: Batch, particles: int, *, progress: bool = False) -> dict[int, Tensor]:
    """log (1/k) sum_k w_k of each datum for k = 1, 2, 5, 10, 20, 50, ... and ``particles``: (B,) each, float64, nats.

    Under an exact guide all particles of a datum weigh the same: one is run. Latents outside the data plate are drawn
    from the guide, one draw a particle: the bound is then that on the log of their posterior predictive density.

    Raises:
        UsageError: ``particles`` < 1; guide and model disagree; a weight is NaN.
    """
    sizes, num = sizes_to(particles), 1 if pair.exact_guide else particles
    chunks = log_weight_chunks(pair, batch, num, globals_given=True, progress=progress)
    values = [bounds_of(log_w.double().expand(particles, -1), sizes) for log_w in chunks]
    return dict(zip(sizes, torch.cat(values, dim=1), strict=True))


def sizes_to(particles: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, ... up to and with ``particles``."""
    if particles < 1:
        raise UsageError(f"particles must be at least 1, got {particles}.")
    steps = [m * 10**e for e in range(10) for m in (1, 2, 5)]
    return [*(size for size in steps if size < particles), particles]


def bounds_of(log_w: Tensor, sizes: Sequence[int]) -> Tensor:
    """The bound of each size, averaged over as many disjoint groups of particles as there are; (len(sizes), B)."""
    rows = []
    for size in sizes:
        groups = log_w.shape[0] // size
        rows.append(log_mean_exp(log_w[: groups * size].reshape(size, groups, -1)).mean(0))
    return torch.stack(rows)
