"""The exact expectation of a bound of a mixed pair: a sum over states, and quadrature over Gaussian latents.

Where a guide draws discrete latents d of finitely many states, and others that are Gaussian, r = loc + scale e with
e ~ N(0, I) and loc and scale of whatever was drawn before, the log-weight of a particle is a function of (d, e). With S
states and n nodes e_i of the Gauss-Hermite rule for each of the D numbers of r, of weights g_i that sum to one, there
are A = S n^D *atoms* a = (d, e), of masses

    m_a = q(d | x, r(e)) g(e),        E F(log w_1, ..., log w_K) = sum_{a_1} ... sum_{a_K}  prod_k m_{a_k}  F(log w_a),

which is the sum of :mod:`ppgen.objectives.discrete.enumeration` over atoms in the place of states: its gradient, by
autograd through masses and log-weights, is the expectation of the scored part and of the pathwise part alike. The rule
is exact for polynomials of degree 2 n - 1 in each e, and converges faster than any power of n where F is analytic. n is
doubled until the gradient stands still; the change is told as the error, and more than 1e-3 of the gradient is refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.distributions.binary_states import as_power
from ppgen.distributions.wrappers import core_of, family_name
from ppgen.errors import UsageError, shown
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.discrete.enumeration import MAX_JOINT_STATES, MAX_TUPLES, Enumeration
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = ["Atoms", "Quadrature", "is_mixed"]

_NODES = (8, 16, 32, 64, 128)
_STANDS_STILL, _CONVERGED = 1e-9, 1e-3
"""The change of a gradient, as a share of it, at which no more nodes are taken; and which is small enough."""


def is_mixed(program: Program, batch: Batch) -> bool:
    """Whether some latents of the guide have a reparameterized sample and others have none."""
    with torch.no_grad():
        one = run_particles(program, batch, 1)
    return bool(one.scored) and one.scored != one.latents


@dataclass(frozen=True)
class Atoms(Enumeration):
    """States and nodes of one rule, as an enumeration whose states are the A atoms.

    ``noise``: e by site name, (A, F). ``log_weights``: log g, (A,).
    """

    noise: Mapping[str, Tensor] = field(default_factory=dict)
    log_weights: Tensor = field(default_factory=lambda: torch.zeros(1))

    @property
    def num_states(self) -> int:
        """A."""
        return len(self.log_weights)

    @property
    def device(self) -> torch.device:
        """Where the nodes are."""
        return self.log_weights.device

    def particles(self, part: slice = slice(None), copies: int = 1) -> Particles:
        """The atoms, or some of them, as particles: log p and log q are (A, B), or (copies A, B), copy after copy."""
        _, atom = self._rows(part, copies)
        given = {name: values[atom] for name, values in self.states.items()}
        noise = {name: values[atom] for name, values in self.noise.items()}

        def draw(site: Site) -> Tensor | None:
            return _moved(site, noise[site["name"]]) if site["name"] in noise else None

        return run_particles(self.program, self.batch, len(atom), given, draw=draw, together=self.parallel or None)

    def log_mass(self, run: Particles, part: slice) -> Tensor:
        """log m of some of the atoms, which were run, (A, B), in nats."""
        return (run.log_q_of(run.scored) + self.log_weights[part, None]).expand_as(run.log_w)

    def log_evidence(self) -> Tensor:
        """log sum_a m_a w_a of each datum, (B,), in nats, without gradients."""
        _, log_w, log_mass = self.tables()
        return (log_w + log_mass).logsumexp(0)


@dataclass(frozen=True)
class Quadrature:
    """What :class:`Atoms` are made of, whatever their number.

    ``states``: of the discrete latents; None: there are none. ``sizes``: F of each Gaussian site. ``num_data``: B.
    ``width``: numbers in the largest site of all data.
    ``seconds``: that a gradient may take: no rule is begun that would take longer; None: no limit.
    """

    program: Program
    batch: Batch
    states: Enumeration | None
    sizes: Mapping[str, int]
    num_data: int
    like: Tensor
    needed_by: str
    width: int
    seconds: float | None = None

    @classmethod
    def of(cls, program: Program, batch: Batch, needed_by: str, seconds: float | None = None) -> Quadrature:
        """That of a program, found by one run of it.

        Raises:
            UsageError: a latent stands outside the data plate or in a further one, is neither Gaussian nor of finitely
                many states (it is named), or the coarsest rule has more than ``MAX_JOINT_STATES`` atoms.
        """
        with torch.no_grad():
            one = run_particles(program, batch, 1)
            states = Enumeration.beside(one, needed_by) if one.scored else None
            width = max(site["value"].numel() for site in one.model_sites.values())
            sizes = {n: _size(one, n, needed_by) for n in one.latents if n not in one.scored}
            found = cls(
                program, batch, states, sizes, one.log_w.shape[1], one.log_w.detach(), needed_by, width, seconds
            )
        found._check(_NODES[0])
        return found

    def gradient(self, bound: Reduction, parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The expectation of ``bound``, summed over data, and its gradient by the parameters.

        Raises:
            UsageError: A^K is more than ``MAX_TUPLES``, or no rule of so many atoms has converged.
        """
        end = math.inf if self.seconds is None else time.monotonic() + self.seconds
        particles = 1 if bound.is_mean else bound.total_particles
        found = self.at(_NODES[0]).gradient(bound, parameters)
        change = math.inf
        for nodes in _NODES[1:]:
            if not self._can(nodes, particles) or change < _STANDS_STILL:
                break
            atoms = self.at(nodes)
            if nodes > _NODES[1] and end < math.inf and time.monotonic() + atoms.duration(bound, parameters) > end:
                break
            coarse, found = found, atoms.gradient(bound, parameters)
            change = _change(coarse[1], found[1])
        if not change < _CONVERGED:
            raise UsageError(
                f"{self.needed_by} by quadrature of {bound} still changes by {100 * change:.2g} % where the nodes are "
                "doubled, and more would be too many or take too long: take fewer particles or smaller latents."
            )
        return found

    def duration(self, bound: Reduction, parameters: Sequence[Tensor]) -> float:
        """About how many seconds :meth:`gradient` takes at least: those of the two rules that it cannot do without."""
        particles = 1 if bound.is_mean else bound.total_particles
        rules = [self.at(nodes) for nodes in _NODES[:2] if nodes == _NODES[0] or self._can(nodes, particles)]
        return sum(atoms.duration(bound, parameters) for atoms in rules)

    def log_evidence(self) -> tuple[Tensor, float]:
        """log p(x) of each datum, (B,), in nats, and by how much its mean changed at the last doubling."""
        found, change = self.at(_NODES[0]).log_evidence(), math.inf
        for nodes in _NODES[1:]:
            if not self._can(nodes, 1) or change < _STANDS_STILL:
                break
            coarse, found = found, self.at(nodes).log_evidence()
            change = float((found - coarse).abs().mean())
        return found, change

    def at(self, nodes: int) -> Atoms:
        """The atoms of a rule of so many nodes in each direction."""
        points, weights = (torch.from_numpy(a).to(self.like) for a in np.polynomial.hermite_e.hermegauss(nodes))
        dims = sum(self.sizes.values())
        grid = torch.cartesian_prod(*[points] * dims).reshape(-1, dims)  # (n^D, D)
        log_weights = torch.cartesian_prod(*[(weights / weights.sum()).log()] * dims).reshape(-1, dims).sum(1)
        num = 1 if self.states is None else self.states.num_states
        noise = dict(zip(self.sizes, grid.repeat(num, 1).split(list(self.sizes.values()), 1), strict=True))
        own = {} if self.states is None else self.states.states
        of_atoms = {name: values.repeat_interleave(len(grid), 0) for name, values in own.items()}
        parallel = self.states is not None and self.states.parallel
        masses = log_weights.repeat(num)
        return Atoms(self.program, self.batch, of_atoms, True, {}, parallel, self.width, noise, masses)

    def _number(self, nodes: int) -> int:
        """A."""
        states = 1 if self.states is None else self.states.num_states
        return int(states * nodes ** sum(self.sizes.values()))

    def _can(self, nodes: int, particles: int) -> bool:
        atoms = self._number(nodes)
        return atoms <= MAX_JOINT_STATES and atoms**particles <= MAX_TUPLES

    def _check(self, nodes: int) -> None:
        if not self._can(nodes, 1):
            names = ", ".join(f"{shown(name)} {size}" for name, size in self.sizes.items())
            raise UsageError(
                f"{self.needed_by} by quadrature, of {nodes} nodes for each number of the Gaussian latents ({names}), "
                f"would sum over {as_power(self._number(nodes), 1)} terms for each datum, and at most "
                f"{MAX_JOINT_STATES:,} are: make the latents smaller."
            )


def _size(one: Particles, name: str, needed_by: str) -> int:
    """F of a Gaussian site."""
    site = one.guide_sites[name]
    if not isinstance(core_of(site["fn"]), dist.Normal):
        raise UsageError(
            f"site {shown(name)} is drawn from {family_name(site['fn'])}, and {needed_by} takes latents that are "
            "Gaussian or have finitely many states."
        )
    if math.prod(site["fn"].batch_shape) != one.log_q.numel():
        raise UsageError(
            f"{needed_by} sums over the latents of each datum by itself, but site {shown(name)} is in a further plate "
            f"(batch shape {tuple(site['fn'].batch_shape)}): make that dim an event by .to_event()."
        )
    return int(site["fn"].event_shape.numel())


def _moved(site: Site, noise: Tensor) -> Tensor:
    """loc + scale e of the site, by e (A, F), for all data."""
    fn, core = site["fn"], core_of(site["fn"])
    plates = (1,) * (len(fn.batch_shape) - 1)
    shaped = noise.reshape(len(noise), *plates, *fn.event_shape)
    value: Tensor = core.loc.expand(fn.shape()) + core.scale.expand(fn.shape()) * shaped
    return value


def _change(coarse: Sequence[Tensor], fine: Sequence[Tensor]) -> float:
    """How far apart two gradients are, as a share of the finer one."""
    before, whole = (torch.cat([g.flatten() for g in one]) for one in (coarse, fine))
    return float((whole - before).norm() / whole.norm().clamp_min(torch.finfo(whole.dtype).tiny))
