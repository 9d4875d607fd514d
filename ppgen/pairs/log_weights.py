"""Log-weights of many particles on many data, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import pyro
import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.errors import UsageError
from ppgen.machine.entry import entry_point
from ppgen.machine.memory import keep_large_blocks
from ppgen.machine.progress import track
from ppgen.pairs.looking import largest_output, looking, one_of_few
from ppgen.pairs.mixing import settled_log_w
from ppgen.pairs.pair import check_explicit
from ppgen.pairs.places import ready
from ppgen.pairs.rows import num_rows, take_rows
from ppgen.pairs.sites import data_frame
from ppgen.pairs.structure import runner_of
from ppgen.pairs.tracing import Batch, Particles, Program, divides, run_particles, say_if_joint

__all__ = ["datum_width", "log_weight_chunks", "log_weights", "read_particles", "rows_of"]

T = TypeVar("T")

_CELLS = 2**22
"""Numbers in the largest site or layer of one chunk: small enough for the processor's caches, large enough for its
cores."""


@entry_point
def log_weights(pair: Any, batch: Batch, num_particles: int, *, progress: bool = False) -> Tensor:
    """log w = log p(x, z) - log q(z | x) at ``num_particles`` draws of the guide for each datum.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``.
        batch: what the data set yields, ``(x,)`` or ``(x, y)``; it is brought to the pair's device.
        num_particles: K; may be in the thousands: particles and data are run in chunks.
        progress: show a progress bar.

    Of a guide with a mixing site q(z | x) is averaged over ``EXTRA`` draws of it (:mod:`ppgen.pairs.mixing`).

    Returns:
        (K, B), in nats, without gradients.

    Raises:
        UsageError: the pair is implicit; K < 1; guide and model disagree; a latent is outside the data plate, so that
            no datum has a weight of its own; a weight is NaN (the datum is named).
    """
    return torch.cat(list(log_weight_chunks(pair, batch, num_particles, progress=progress)), dim=1)


def log_weight_chunks(
    pair: Any, batch: Batch, num_particles: int, *, globals_given: bool = False, progress: bool = False
) -> Iterator[Tensor]:
    """The columns of :func:`log_weights`, some data at a time, each (K, rows).

    With ``globals_given``, latents outside the data plate, g, are not refused: every particle has its own g ~ q(g), and
    w = p(x, z | g) / q(z | x, g) is a datum's own weight, whose mean is the integral of q(g) p(x | g), the predictive
    density of what training made of g.
    """
    start, read = 0, settled_log_w if globals_given else _per_datum
    for blocks in read_particles(pair, batch, num_particles, read, progress=progress):
        log_w = torch.cat(blocks)
        if log_w.isnan().any():
            datum = start + int(log_w.isnan().any(0).nonzero()[0])
            raise UsageError(f"the log-weight of datum {datum} is NaN: look at the guide's output for that datum.")
        start += log_w.shape[1]
        yield log_w


def read_particles(
    pair: Any,
    batch: Batch,
    num_particles: int,
    read: Callable[[Particles], T],
    *,
    given: Mapping[str, Tensor] | None = None,
    rows: int | None = None,
    progress: bool = False,
) -> Iterator[list[T]]:
    """What ``read`` makes of the particles of each datum, some data at a time and some particles at a time.

    The pair runs in evaluation mode: no batch statistics, no dropout.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``.
        batch: what the data set yields, ``(x,)`` or ``(x, y)``.
        num_particles: K; may be in the thousands.
        read: a function of (k, rows) particles, called without gradients.
        given: latents outside the data plate that are held where they are, by site name, each (1, ..., *event); None:
            every particle has its own.
        rows: data at a time, all their particles at once (:func:`rows_of`); None: as many of both as one run of all
            data tells.
        progress: show a progress bar.

    Yields:
        For the first rows of the batch, then the next: what ``read`` gave for each block of their particles.

    Raises:
        UsageError: K < 1; guide and model disagree.
    """
    pair, batch = ready(pair, batch)
    check_explicit(pair, "log_weights")
    at_least("num_particles", num_particles, 1)
    program = Program(pair.model, pair.guide)
    keep_large_blocks()
    block = num_particles
    if rows is None:
        with looking(pair, seed=0), pyro.validation_enabled(False):
            rows, block = _chunk_sizes(program, batch, num_particles)
    for start in track(range(0, num_rows(batch), rows), "log-weights", progress):
        part = take_rows(batch, slice(start, start + rows))
        sizes = [min(block, num_particles - done) for done in range(0, num_particles, block)]
        with looking(pair), pyro.validation_enabled(False):
            results = [read(run_particles(program, part, size, given)) for size in sizes]
        yield results


def rows_of(width: int, num_particles: int) -> int:
    """How many data of that :func:`datum_width` are a chunk when all their particles are run at once."""
    return max(1, _CELLS // (width * num_particles))


def datum_width(one: Particles) -> int:
    """Numbers in the largest site of a datum, every state of what is summed out among them; of any site, without a
    data plate."""
    sites = [site for site in one.model_sites.values() if not site_is_subsample(site)]
    of_data = [site for site in sites if data_frame(site, one.plate) is not None]
    largest = max(site["fn"].batch_shape.numel() * site["fn"].event_shape.numel() for site in of_data or sites)
    return max(1, largest // one.log_w.shape[1]) if of_data else int(largest)


def _per_datum(particles: Particles) -> Tensor:
    if particles.outside is not None:
        names = ", ".join(map(repr, particles.outside.latents)) or "an observed site"
        raise UsageError(
            f"log-weights are per datum, but {names} stands outside the data plate: its weight belongs to the "
            "whole data set; move it inside the plate, or read the bound that training reports."
        )
    return settled_log_w(particles)


def _chunk_sizes(program: Program, batch: Batch, num_particles: int) -> tuple[int, int]:
    """Data and particles of one chunk; the whole batch where it cannot be divided."""
    with largest_output() as outputs:
        seen, one = one_of_few(program, batch)
    say_if_joint(one)
    together = num_particles == 1 or runner_of(program, seen, num_particles).together
    width = max(datum_width(one), max(outputs) // one.log_w.shape[1])  # a network's layers may be wider than any site
    cells, size = rows_of(width, 1), num_rows(batch)
    if not divides(one):
        return size, max(1, cells // one.log_w.shape[1])
    block = max(1, cells // (16 if together else size))
    if one.outside is not None:  # each chunk draws its own, which may be as large as many data
        block = math.isqrt(block)
    block = min(num_particles, block)
    return max(1, cells // block), block
