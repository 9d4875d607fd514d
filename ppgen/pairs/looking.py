"""Looking at a pair: it runs, and nothing of it or around it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pyro
import torch
from torch import nn

from ppgen.machine.seeds import manual_seed
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import in_evaluation, isolated
from ppgen.pairs.rows import is_divisible, num_rows, take_rows
from ppgen.pairs.tracing import Batch, Particles, Program, divides, run_particles

__all__ = ["few_of", "goes_apart", "looked_at", "looking", "seeded"]


@contextmanager
def looking(pair: nn.Module, seed: int | None = None) -> Iterator[None]:
    """Within it ``pair`` runs in evaluation mode, with its own parameters, without gradients; all is put back.

    Args:
        pair: whose ``model`` and ``guide`` run within.
        seed: seeds the random numbers within, which leave the global ones alone; None: the global ones go on.
    """
    with torch.no_grad(), isolated(), in_evaluation(pair), nullcontext() if seed is None else seeded(seed):
        yield


def looked_at(pair: Pair, batch: Batch, num_particles: int = 1, seed: int | None = 0) -> Particles:
    """Particles of a pair, to see which sites it has: without Pyro's validation, ``seed`` as in :func:`looking`."""
    pair.prepare(*batch)
    with looking(pair, seed), pyro.validation_enabled(False):
        return run_particles(Program(pair.model, pair.guide), batch, num_particles)


def goes_apart(pair: Pair, batch: Batch) -> bool:
    """Whether some of the data of a batch can be given to a pair alone."""
    divisible = is_divisible(batch, num_rows(batch))
    return divisible and (not pair.has_weights or divides(looked_at(pair, batch)))


def few_of(pair: Pair, batch: Batch, num: int = 2) -> Batch:
    """The first data of a batch, or all where they go together."""
    return take_rows(batch, slice(num)) if goes_apart(pair, batch) else batch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from ``seed`` on within; after it they go on as if nothing had been drawn."""
    with torch.random.fork_rng():
        manual_seed(seed)
        yield
