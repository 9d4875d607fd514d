"""All states of some binary units, or of all discrete latents of a pair, for sums that are exact.

With S joint states z_s of the latents of a datum, log p(x) = logsumexp_s log p(x, z_s), and a bound that is a function
F of K log-weights has the exact expectation

    E F(log w_1, ..., log w_K) = sum_{s_1} ... sum_{s_K}  prod_k q(z_{s_k} | x)  F(log w_{s_1}, ..., log w_{s_K}),

a function of two tables (S, B), log p(x, z_s) and log q(z_s | x), whose gradient by the parameters is exact too.

Where a guide has reparameterized latents r beside the discrete z, the states are summed and r is drawn: each of K
particles draws what comes before z once for all states, and what comes after it, r ~ q(r | x, z_s), once in every
state. With log q(z_s | x, r), the discrete sites' alone,

    sum_{s_1} ... sum_{s_K}  prod_k q(z_{s_k} | x, r_{k, s_k})  F(log w_1, ..., log w_K),

a function of tables (K, S, B), has the expectation of F, whichever is drawn first; its gradient is pathwise through r,
with no score (Kingma et al., Semi-supervised Learning with Deep Generative Models, NeurIPS 2014, eq. 7, for K = 1).

The states of sites that the guide marks for parallel enumeration stand side by side in one run, as Pyro has them;
those of others too, where the pair's particles may. What is too large for one run is a few at a time
(:mod:`ppgen.pairs.parts`): the expectation is a function of the tables whatever it is, a mean of log-weights or none.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ppgen.distributions.binary_states import as_power
from ppgen.errors import LatentsError, UsageError, shown
from ppgen.objectives.bounds import Reduction
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.looking import largest_output
from ppgen.pairs.memories import parts_of
from ppgen.pairs.parts import in_parts
from ppgen.pairs.sites import Site, is_masked
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = [
    "MAX_JOINT_STATES",
    "MAX_TUPLES",
    "Enumeration",
    "check_local",
    "check_number",
    "expected_bound",
    "most_states",
]

MAX_JOINT_STATES = 2**16
"""Joint states of one datum's latents, and terms of one datum's expectation at once, that are summed at most."""

MAX_TUPLES = 2**20
"""Terms of one datum's expectation that are summed at most where a few are taken at a time: those of a mean, whose
terms are its states, always may be."""

_CELLS = 2**22
"""Numbers in the largest site or layer of one part of the states."""

_WHOLE = 2**26
"""Numbers in the largest site or layer of all states up to which they are one run, which is faster than parts are and
can be compiled: 256 MiB in float32, some ten times in a step."""


def expected_bound(bound: Reduction, log_w: Tensor, log_q: Tensor) -> Tensor:
    """The expectation of a function of log-weights over states, (S, B) and (S, B) -> (B,), in nats; differentiable.

    Args:
        bound: the function, of K = ``bound.total_particles`` log-weights; of one, where it is their mean.
        log_w: log p(x, z) - log q(z | x) of every state z; or (K, S, B), those of K particles each with draws of its
            own of what is not summed.
        log_q: log q of every state's discrete latents, of the same shape.

    Raises:
        UsageError: S^K is more than :func:`most_states`.
    """
    if log_w.dim() == 3 and bound.is_mean:
        return torch.stack([expected_bound(bound, w, q) for w, q in zip(log_w, log_q, strict=True)]).mean(0)
    return _expectation(bound, log_w, log_q, _tuples(bound, log_w, most_states(bound)))


def most_states(bound: Reduction) -> int:
    """How many terms of one datum's expectation of a bound are summed at most, states among them."""
    return MAX_TUPLES if bound.is_mean else MAX_JOINT_STATES


@dataclass(frozen=True)
class Enumeration:
    """Every joint state of the discrete latents of a program at a batch.

    ``states``: (S, B, ...) by site name, in the guide's order. ``mixed``: whether it has other latents. ``before``: the
    values (K, B, ...) of those drawn before any of the discrete ones, but for a flow's, which is drawn in each state.
    ``parallel``: whether the guide marks the sites for parallel enumeration. ``width``: numbers in the largest site or
    layer of one state of all data.
    """

    program: Program
    batch: Batch
    states: Mapping[str, Tensor]
    mixed: bool = False
    before: Mapping[str, Tensor] = field(default_factory=dict)
    parallel: bool = False
    width: int = 1

    @classmethod
    def of(cls, program: Program, batch: Batch, needed_by: str) -> Enumeration:
        """All joint states of a program whose latents are all discrete, found by one run of it.

        Raises:
            UsageError: a latent is outside the data plate, in a further plate, or not one of the discrete
                distributions that can be enumerated, or masked (it is named); there are more than
                ``MAX_JOINT_STATES``.
        """
        with torch.no_grad(), largest_output() as outputs:
            one = run_particles(program, batch, 1)
        check_local(one, needed_by)
        if not one.latents:
            raise UsageError(f"{needed_by} sums over the states of the guide's discrete latents, and it has none.")
        return cls._at(one, one.latents, needed_by, MAX_JOINT_STATES, max(outputs))

    @classmethod
    def beside(cls, particles: Particles, needed_by: str, most: int = MAX_JOINT_STATES, widest: int = 1) -> Enumeration:
        """All joint states of the discrete latents beside the reparameterized ones of these particles, if any.

        Args:
            particles: of the pair.
            needed_by: what sums over the states.
            most: of them.
            widest: numbers in the largest layer of these particles.

        Raises:
            UsageError: a latent is outside the data plate, in a further plate, or not one of the discrete
                distributions that can be enumerated, or masked (it is named); there are more than ``most``.
        """
        check_local(particles, needed_by)
        if not particles.scored:
            raise LatentsError(
                f"{needed_by} sums over the states of discrete latents, and those of the guide "
                f"({', '.join(map(repr, particles.latents)) or 'none'}) all have reparameterized samples: make one "
                "discrete."
            )
        return cls._at(particles, particles.scored, needed_by, most, widest)

    @classmethod
    def _at(cls, particles: Particles, names: Sequence[str], needed_by: str, most: int, widest: int) -> Enumeration:
        sites = {name: particles.guide_sites[name] for name in names}
        families = {name: family_of(site, needed_by) for name, site in sites.items()}
        sizes = [family.num_states(sites[name]["fn"]) for name, family in families.items()]
        _check_number(list(families), sizes, needed_by, most)
        tables = [family.states(sites[name]["fn"]) for name, family in families.items()]
        numbers = [torch.arange(size, device=table.device) for size, table in zip(sizes, tables, strict=True)]
        joint = torch.cartesian_prod(*numbers).reshape(-1, len(sizes))  # (S, sites)
        chosen = zip(sites.items(), tables, joint.T, strict=True)
        states = {name: _for_all_data(table[i], site["value"]) for (name, site), table, i in chosen}
        marked = all(site["infer"].get("enumerate") == "parallel" for site in sites.values())
        mixed, before = list(sites) != particles.latents, _drawn_before(particles, sites)
        widest = max(widest, *(site["value"].numel() for site in particles.model_sites.values()))
        width = -(-widest // particles.num_particles)
        return cls(particles.program, particles.batch, states, mixed, before, marked, width)

    @property
    def num_states(self) -> int:
        """S."""
        return len(next(iter(self.states.values())))

    @property
    def num_data(self) -> int:
        """B."""
        return int(next(iter(self.states.values())).shape[1])

    @property
    def device(self) -> torch.device:
        """Where the states are."""
        return next(iter(self.states.values())).device

    def particles(self, part: slice = slice(None), copies: int = 1) -> Particles:
        """The states as particles: log p and log q are (S, B), or (copies S, B), copy after copy; or some of these."""
        copy, state = self._rows(part, copies)
        given = {name: values[state] for name, values in self.states.items()}
        shared = {name: values[copy] for name, values in self.before.items()}
        return run_particles(self.program, self.batch, len(state), {**shared, **given}, together=self.parallel or None)

    def in_memory(self, copies: int = 1, at_a_time: int | None = None) -> Particles:
        """:meth:`particles` of all states, ``at_a_time`` of which are run at once, and no more than memory may hold."""
        total = copies * self.num_states
        most = min(at_a_time or total, total if total * self.width <= _WHOLE else max(1, _CELLS // self.width))
        if most >= total:
            return self.particles(copies=copies)
        return in_parts(self.program, self.batch, total, most, lambda part: self.particles(part, copies))

    def _rows(self, part: slice, copies: int) -> tuple[Tensor, Tensor]:
        """Of some of the (copies S) particles: the number of the copy, and of the state."""
        rows = torch.arange(copies * self.num_states, device=self.device)[part]
        return rows // self.num_states, rows % self.num_states

    def log_mass(self, run: Particles, part: slice) -> Tensor:
        """log q(z_s | x) of some of the states, which were run, (S, B), in nats."""
        return run.log_q_of(run.latents)

    @torch.no_grad()
    def tables(self, parts: Sequence[slice] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """log p(x, z_s), log w_s and log q(z_s | x) of all states, each (S, B), in nats, without gradients.

        log w_s is log p(x, z_s) - log q(z_s | x) but for a scale that the user gave to the guide's sites. ``parts``: of
        these states alone.
        """
        found = [(self.particles(part), part) for part in parts or self._parts()]
        tables = zip(*((run.log_p, run.log_w, self.log_mass(run, part)) for run, part in found), strict=True)
        log_p, log_w, log_q = map(torch.cat, tables)
        return log_p, log_w, log_q

    def log_evidence(self) -> Tensor:
        """log p(x) of each datum, (B,), in nats, without gradients."""
        log_p, _, _ = self.tables()
        return log_p.logsumexp(0)

    def gradient(self, bound: Reduction, parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The exact expectation of ``bound``, summed over data, and its gradient by the parameters.

        The derivatives of the sum by the two tables are taken first, some tuples of states at a time; then the tables
        are differentiated, some states at a time.

        Raises:
            UsageError: S^K is more than ``MAX_TUPLES``.
        """
        log_w, log_q = self.tables()[1:]
        value, by_w, by_q = log_w.new_zeros(()), torch.zeros_like(log_w), torch.zeros_like(log_q)
        for part in self._tuples(bound, log_w):
            partial, more_by_w, more_by_q = _slopes(bound, log_w, log_q, part)
            value, by_w, by_q = value + partial, by_w + more_by_w, by_q + more_by_q
        return value, self._through(by_w, by_q, parameters)

    def duration(self, bound: Reduction, parameters: Sequence[Tensor]) -> float:
        """About how many seconds :meth:`gradient` takes: those of a first part of each of its sums, for each part.

        Raises:
            UsageError: S^K is more than ``MAX_TUPLES``.
        """
        check_number(bound, self.num_states, MAX_TUPLES)
        parts = self._parts()
        self.tables([slice(2)])  # what is found out of a pair is found out once
        start = time.perf_counter()
        _, *tables = self.tables(parts[:1])
        by_w, by_q = map(torch.ones_like, tables)
        found = self._through(by_w, by_q, parameters, parts[:1])
        float(sum(gradient.sum() for gradient in found))  # a device is waited for
        of_states = time.perf_counter() - start
        level = tables[0].new_zeros(self.num_states, tables[0].shape[1])
        tuples, start = self._tuples(bound, level), time.perf_counter()
        float(_slopes(bound, level, level, tuples[0])[0])
        return len(parts) * of_states + len(tuples) * (time.perf_counter() - start)

    def _tuples(self, bound: Reduction, log_w: Tensor) -> Sequence[Tensor]:
        """The states of K particles in every combination, some (T, K) at a time."""
        tuples = _tuples(bound, log_w, MAX_TUPLES)
        some: Sequence[Tensor] = tuples.split(max(1, _CELLS // (tuples.shape[1] * log_w.shape[1])))
        return some

    def _through(
        self, by_w: Tensor, by_q: Tensor, parameters: Sequence[Tensor], parts: Sequence[slice] | None = None
    ) -> list[Tensor]:
        """The gradient by the parameters of what has these derivatives by the tables of log w and log q."""
        total = [torch.zeros_like(p) for p in parameters]
        for part in parts or self._parts():
            run = self.particles(part)
            surrogate = (by_w[part] * run.log_w).sum() + (by_q[part] * self.log_mass(run, part)).sum()
            found = torch.autograd.grad(surrogate, parameters, allow_unused=True, materialize_grads=True)
            total = [so_far + gradient for so_far, gradient in zip(total, found, strict=True)]
        return total

    def _parts(self) -> list[slice]:
        size = max(1, _CELLS // self.width)
        return [slice(start, start + size) for start in range(0, self.num_states, size)]


def check_number(bound: Reduction, states: int, most: int | None = None) -> int:
    """How many particles a bound draws from so many states, 1 where it is their mean.

    Raises:
        UsageError: they have more than ``most`` combinations, by default :func:`most_states`.
    """
    most = most or most_states(bound)
    particles = 1 if bound.is_mean else bound.total_particles
    if states**particles > most:
        raise UsageError(
            f"the exact expectation of {bound} would sum over {as_power(states, particles)} draws of {particles} "
            f"particles for each datum, and at most {most} are: take fewer particles or latents."
        )
    return particles


def _tuples(bound: Reduction, log_w: Tensor, most: int) -> Tensor:
    """The states of K particles in every combination, (S^K, K)."""
    particles = check_number(bound, log_w.shape[-2], most)
    every = torch.arange(log_w.shape[-2], device=log_w.device)
    return torch.cartesian_prod(*[every] * particles).reshape(-1, particles)


def _expectation(bound: Reduction, log_w: Tensor, log_q: Tensor, tuples: Tensor) -> Tensor:
    """The part (B,) of the expectation that these tuples of states (T, K) make up."""
    if log_w.dim() == 3:
        particle = torch.arange(tuples.shape[1], device=tuples.device)
        log_w, log_q = log_w[particle, tuples], log_q[particle, tuples]  # (T, K, B)
    else:
        log_w, log_q = log_w[tuples], log_q[tuples]  # (T, K, B)
    probability = log_q.sum(1).exp()  # (T, B)
    drawn = log_w.transpose(0, 1)  # (K, T, B)
    value = bound.reduce(drawn.reshape(tuples.shape[1], -1)).reshape(probability.shape)
    return (probability * value.where(probability > 0, 0.0)).sum(0)


def _slopes(bound: Reduction, log_w: Tensor, log_q: Tensor, tuples: Tensor) -> list[Tensor]:
    """That part of the expectation, summed over data, and its derivatives by the tables."""
    log_w, log_q = (table.detach().requires_grad_() for table in (log_w, log_q))
    partial = _expectation(bound, log_w, log_q, tuples).sum()
    return [partial.detach(), *torch.autograd.grad(partial, [log_w, log_q])]


def _drawn_before(particles: Particles, sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """The values (K, B, ...) of the latents that no state of these sites has a part in: the guide drew them before."""
    names = itertools.takewhile(lambda name: name not in sites, particles.latents)
    found = {name: particles.guide_sites[name] for name in names}
    return {n: s["value"] for n, s in found.items() if not any(part._cache_size for part in parts_of(s["fn"]))}


def check_local(one: Particles, needed_by: str) -> None:
    """Every latent is in the data plate, and its discrete ones in no other and without a mask.

    Raises:
        UsageError: one is not; it is named.
    """
    if one.outside is not None:
        names = ", ".join(map(repr, one.outside.latents)) or "an observed site"
        raise LatentsError(
            f"{needed_by} sums over the states of each datum by itself, but {names} stands outside the data plate: "
            "move it inside."
        )
    for name in one.scored:
        site = one.guide_sites[name]
        if math.prod(site["fn"].batch_shape) != one.log_q.numel():
            raise LatentsError(
                f"{needed_by} sums over the states of each datum by itself, but site {shown(name)} is in a further "
                f"plate (batch shape {tuple(site['fn'].batch_shape)}): make that dim an event by .to_event()."
            )
        if is_masked(site):
            raise LatentsError(
                f"{needed_by} sums over the states of each datum by their probabilities, and some of site "
                f"{shown(name)} are masked out: leave the mask off."
            )


def _check_number(names: Sequence[str], sizes: Sequence[int], needed_by: str, most: int) -> None:
    if math.prod(sizes) > most:
        each = ", ".join(f"{shown(name)} {as_power(size, 1)}" for name, size in zip(names, sizes, strict=True))
        raise LatentsError(
            f"{needed_by} would sum over {as_power(math.prod(sizes), 1)} joint states for each datum ({each}), and at "
            f"most {most:,} are: make the latents smaller."
        )


def _for_all_data(states: Tensor, value: Tensor) -> Tensor:
    """States (S, *event) for every datum of a site whose one particle is (1, ..., B, *event)."""
    event = states.dim() - 1
    plates = value.dim() - 1 - event
    return states.reshape(len(states), *(1,) * plates, *states.shape[1:]).expand(-1, *value.shape[1:])
