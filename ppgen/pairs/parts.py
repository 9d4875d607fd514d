"""K particles of which a few are in memory at a time, with exact gradients.

A bound is a function f(T) of tables T of shape (K, B), log-weights above all, and its gradient by the parameters is

    df/dtheta = sum_k sum_b (df/dT_kb) (dT_kb/dtheta),

in which a particle's row depends on its own draws alone. So the tables are made without a graph, a few particles at a
time, df/dT is taken of them, and then the same few are drawn again from the same seeds, with a graph, each time adding
its part of the sum: memory holds one part's graph and the tables. The price is a second run of every particle, and
another one for each further table that f reads.

The parts' seeds come from torch's generator of the CPU; the draws are others than those of K particles at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from ppgen.errors import UsageError, shown
from ppgen.pairs.running import Batch, Draw, Program
from ppgen.pairs.sites import Site
from ppgen.pairs.structure import runner_of, untouched
from ppgen.pairs.tracing import Particles, run_particles

__all__ = ["run_in_parts"]


def run_in_parts(
    program: Program, batch: Batch, num_particles: int, at_a_time: int, draw: Draw | None = None
) -> Particles:
    """As :func:`ppgen.pairs.tracing.run_particles`, with at most ``at_a_time`` particles in memory.

    Of what it gives, the tables of shape (K, B) may be read, again and again, after :meth:`Particles.with_fixed` too,
    and what is no particle's own: names, plate, scale.

    Raises:
        UsageError: as there.
    """
    with untouched(program):
        one = run_particles(program, batch, 1, draw=draw)
    num = -(-num_particles // at_a_time)
    sizes = [len(part) for part in torch.arange(num_particles).tensor_split(num)]
    for size in set(sizes):
        runner_of(program, batch, size)  # looked at before a graph is made
    seeds = torch.randint(2**62, (num,)).tolist()

    def run(size: int) -> Particles:
        return run_particles(program, batch, size, draw=draw)

    parts = tuple(zip(sizes, seeds, strict=True))
    return _InParts(one.runner, one.guide_sites, one.model_sites, extended=one.extended, parts=parts, run=run)


@dataclass(frozen=True)
class _InParts(Particles):
    """Particles whose tables are those of their parts.

    The sites of the base are one particle's. ``parts``: how many there are in each, and its seed; ``run`` draws so
    many; ``view``: what is read of them, in place of the particles as they were drawn.
    """

    parts: tuple[tuple[int, int], ...] = field(kw_only=True)
    run: Callable[[int], Particles] = field(kw_only=True)
    view: Callable[[Particles], Particles] = lambda drawn: drawn

    @property
    def num_particles(self) -> int:
        return sum(size for size, _ in self.parts)

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

    def _table(self, read: Callable[[Particles], Tensor]) -> Tensor:
        """(K, B); a part's graph is made when its gradient is taken."""

        def rows(size: int, seed: int) -> Tensor:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                return read(self.view(self.run(size))).expand(size, -1)

        run_again = partial(checkpoint, rows, use_reentrant=False, preserve_rng_state=False)
        with set_checkpoint_early_stop(False):  # its way to stop is an error, which a user's code may catch
            return torch.cat([(run_again if torch.is_grad_enabled() else rows)(*part) for part in self.parts])
