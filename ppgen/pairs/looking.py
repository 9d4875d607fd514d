"""Looking at a pair: it runs, and nothing of it or around it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import pyro
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from ppgen.machine.seeds import manual_seed
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import in_evaluation, isolated
from ppgen.pairs.rows import is_divisible, num_rows, take_rows
from ppgen.pairs.tracing import Batch, Particles, Program, automatic_guides, divides, run_particles

__all__ = ["few_of", "goes_apart", "largest_output", "looked_at", "looking", "one_of_few", "seeded"]

_LARGE = 2**16
"""Numbers of a batch of which two data are looked at in place of all: a run makes many tensors as large as it, and
networks of pictures some that are a hundred times as large."""


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
    if not is_divisible(batch, num_rows(batch)) or not pair.has_weights:
        return is_divisible(batch, num_rows(batch))
    pair.prepare(*batch)
    with looking(pair, 0), pyro.validation_enabled(False):
        return divides(one_of_few(Program(pair.model, pair.guide), batch)[1])


def one_of_few(program: Program, batch: Batch) -> tuple[Batch, Particles]:
    """Data that tell how a program takes the whole batch, and a particle of them: two of a large one, else all.

    All, too, where two cannot be given alone, and for automatic guides, which may have parameters for each datum. To be
    called while :func:`looking`.
    """
    size = num_rows(batch)
    numbers = sum(part.numel() for part in batch if torch.is_tensor(part))
    if numbers > _LARGE and is_divisible(batch, size) and not automatic_guides(program.guide):
        few = take_rows(batch, slice(2))
        with suppress(Exception):  # the program has plates or parameters of as many data as there are
            one = run_particles(program, few, 1)
            if divides(one):
                return few, one
    return batch, run_particles(program, batch, 1)


@contextmanager
def largest_output() -> Iterator[list[int]]:
    """Within it the list is told how many numbers each tensor has that a module gives; it begins with 1."""
    found = [1]

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if torch.is_tensor(output):
            found.append(output.numel())

    handle = register_module_forward_hook(note)
    try:
        yield found
    finally:
        handle.remove()


def few_of(pair: Pair, batch: Batch, num: int = 2) -> Batch:
    """The first data of a batch, or all where they go together."""
    return take_rows(batch, slice(num)) if goes_apart(pair, batch) else batch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from ``seed`` on within; after it they go on as if nothing had been drawn."""
    with torch.random.fork_rng():
        manual_seed(seed)
        yield
