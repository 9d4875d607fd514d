"""Looking at a pair: it runs, and nothing of it or around it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from ppgen.pairs.parameters import in_evaluation, isolated

__all__ = ["looking", "seeded"]


@contextmanager
def looking(pair: nn.Module, seed: int | None = None) -> Iterator[None]:
    """Within it ``pair`` runs in evaluation mode, with its own parameters, without gradients; all is put back.

    Args:
        pair: whose ``model`` and ``guide`` run within.
        seed: of the random numbers within, which leave the global ones alone; None: the global ones go on.
    """
    with torch.no_grad(), isolated(), in_evaluation(pair), nullcontext() if seed is None else seeded(seed):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from ``seed`` on within; after it they go on as if nothing had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
