"""K particles of which a few are in memory at a time, with exact gradients.

A bound is a function f(T) of tables T of shape (K, B), log-weights above all, and its gradient by the parameters is

    df/dtheta = sum_k sum_b (df/dT_kb) (dT_kb/dtheta),

in which a particle's row depends on its own draws alone. So the tables are made without a graph, a few particles at a
time, df/dT is taken of them, and then the same few are drawn again from the same seeds, with a graph, each time adding
its part of the sum: memory holds one part's graph and the tables. The price is a second run of every particle, and two
more for each further table, but for those that :meth:`Particles.read` gives together.

The particles may be draws, or the states of what is summed over. The parts' seeds come from torch's generator of the
CPU; draws are others than those of K particles at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise, starmap

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from ppgen.errors import UsageError, shown
from ppgen.pairs.parameters import owner
from ppgen.pairs.running import Batch, Draw, Program
from ppgen.pairs.sites import Site
from ppgen.pairs.structure import runner_of, untouched
from ppgen.pairs.tracing import Particles, run_particles

__all__ = ["check_kept", "in_parts", "run_in_parts"]


def run_in_parts(
    program: Program, batch: Batch, num_particles: int, at_a_time: int, draw: Draw | None = None
) -> Particles:
    """As :func:`ppgen.pairs.tracing.run_particles`, with at most ``at_a_time`` particles in memory.

    Raises:
        UsageError: as there; the pair keeps statistics of its batches.
    """

    def run(part: slice) -> Particles:
        return run_particles(program, batch, part.stop - part.start, draw=draw)

    return in_parts(program, batch, num_particles, at_a_time, run)


def in_parts(
    program: Program, batch: Batch, num_particles: int, at_a_time: int, run: Callable[[slice], Particles]
) -> Particles:
    """The particles that ``run`` gives of each part of so many, with at most ``at_a_time`` in memory.

    Of what it gives, the tables of shape (K, B) may be read, again and again, after :meth:`Particles.with_fixed` too,
    and what is no particle's own: names, plate, scale.

    Raises:
        UsageError: the pair keeps statistics of its batches, which those of parts are not.
        RuntimeError: a graph is being made, which would hold all parts.
    """
    if get_proxy_mode() is not None:
        raise RuntimeError(f"of {num_particles:,} particles of each datum {at_a_time:,} are run at a time.")
    with untouched(program):
        before = {name: value.clone() for name, value in _buffers(program).items()}
        one = run(slice(0, 1))
        check_kept(_buffers(program), before)
    num = -(-num_particles // at_a_time)
    edges = [num_particles * part // num for part in range(num + 1)]
    for size in {end - start for start, end in pairwise(edges)}:
        runner_of(program, batch, size)  # looked at before a graph is made
    seeds = torch.randint(2**62, (num,)).tolist()
    parts = tuple(zip(starmap(slice, pairwise(edges)), seeds, strict=True))
    return _InParts(one.runner, one.guide_sites, one.model_sites, extended=one.extended, parts=parts, run=run)


def check_kept(buffers: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
    """A run left the buffers of a pair as they were ``before``.

    Raises:
        UsageError: one has changed.
    """
    for name, value in buffers.items():
        if not torch.equal(value, before[name]):
            raise UsageError(
                f"buffer {shown(name)} of the pair changes with each batch, as statistics of it do, so that a batch "
                "cannot be taken in the parts that memory has room for: lower batch_size or num_particles, or keep no "
                "such statistics (batch_norm=False)."
            )


def _buffers(program: Program) -> dict[str, Tensor]:
    modules = filter(None, map(owner, (program.guide, program.model)))
    return {f"{type(module).__name__}.{name}": value for module in modules for name, value in module.named_buffers()}


@dataclass(frozen=True)
class _InParts(Particles):
    """Particles whose tables are those of their parts.

    The sites of the base are one particle's. ``parts``: which of them are in each, and its seed; ``run`` gives these;
    ``view``: what is read of them, in place of the particles as they were drawn.
    """

    parts: tuple[tuple[slice, int], ...] = field(kw_only=True)
    run: Callable[[slice], Particles] = field(kw_only=True)
    view: Callable[[Particles], Particles] = lambda drawn: drawn

    @property
    def num_particles(self) -> int:
        return int(self.parts[-1][0].stop)

    @cached_property
    def log_p(self) -> Tensor:
        return self._table(lambda particles: particles.log_p)

    @cached_property
    def log_q(self) -> Tensor:
        return self._table(lambda particles: particles.log_q)

    @cached_property
    def log_w(self) -> Tensor:
        return self._table(lambda particles: particles.log_w)

    @property
    def log_likelihood(self) -> Tensor:
        return self._table(lambda particles: particles.log_likelihood)

    @property
    def log_prior(self) -> Tensor:
        return self._table(lambda particles: particles.log_prior)

    def log_q_of(self, names: Iterable[str]) -> Tensor:
        chosen = list(names)
        return self._table(lambda particles: particles.log_q_of(chosen))

    def log_prob(self, name: str, sites: Mapping[str, Site] | None = None) -> Tensor:
        raise UsageError(
            f"the log-probability of site {shown(name)} alone was asked for, and particles that are run a few at a "
            "time have tables of all sites together: read log_w, log_p, log_q, log_prior or log_likelihood, or declare "
            "splits_particles = False in the objective."
        )

    @cached_property
    def outside(self) -> Particles | None:
        view = self.view

        def globals_of(particles: Particles) -> Particles:
            found = view(particles).outside
            assert found is not None  # for one particle it was not
            return found

        return None if super().outside is None else replace(self, inside=False, view=globals_of)

    def with_fixed(self, *, model: bool = False, guide: bool = False, latents: bool = False) -> Particles:
        view = self.view
        return replace(self, view=lambda drawn: view(drawn).with_fixed(model=model, guide=guide, latents=latents))

    def read(self, tables: Callable[[Particles], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """A part's graph is made when its gradient is taken."""

        def rows(part: slice, seed: int) -> tuple[Tensor, ...]:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                found = tables(self.view(self.run(part)))
            return tuple(table.expand(part.stop - part.start, -1) for table in found)

        run_again = partial(checkpoint, rows, use_reentrant=False, preserve_rng_state=False)
        with set_checkpoint_early_stop(False):  # its way to stop is an error, which a user's code may catch
            found = [(run_again if torch.is_grad_enabled() else rows)(*part) for part in self.parts]
        return tuple(map(torch.cat, zip(*found, strict=True)))

    def _table(self, read: Callable[[Particles], Tensor]) -> Tensor:
        """(K, B)."""
        return self.read(lambda particles: (read(particles),))[0]
