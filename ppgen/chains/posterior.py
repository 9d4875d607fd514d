"""Markov chains whose limit is the posterior p(z | x) of each datum, for any latents that a pair has.

    continuous latents      Hamiltonian Monte Carlo on u, z = T(u) unconstrained: momentum r ~ N(0, I), leapfrogs of

                                r <- r + e/2 grad log p(u, x),   u <- u + e r,   r <- r + e/2 grad log p(u, x),

                            accepted with probability min(1, exp(-change of the energy |r|^2 / 2 - log p(u, x)));
                            e is drawn within a fifth of the step size, against trajectories of half a period
    discrete latents        one unit of each site, drawn uniformly, proposed at another of its levels; accepted with
                            probability min(1, p(z', x) / p(z, x)): Metropolised Gibbs sampling (Liu 1996)

log p(u, x) = log p(z, x) + log |dz/du|. With a power b the limit is the tempered posterior, p(z) p(x | z)^b normalised:
the prior at b = 0. Every particle of every datum is a chain of its own, accepted by itself. Where
both kinds are present each moves given the other. A transition leaves the posterior as it is from wherever it starts;
how many are needed to come near it is the user's to judge. Pyro's ``HMC`` is one chain with one acceptance and one step
size for all data; these are K x B chains, each accepted by itself, tempered, in one traced graph.

Neal: MCMC Using Hamiltonian Dynamics, 2011, sections 3 and 4; Liu: Peskun's Theorem and a Modified Discrete-State
Gibbs Sampler, Biometrika 1996.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ppgen.chains.hamiltonian import Seen, leapfrogs
from ppgen.chains.unconstrained import unconstraining
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.sites import per_datum, side_axis
from ppgen.pairs.tracing import Particles, run_particles

__all__ = ["LatentChains", "Latents"]

Latents: TypeAlias = Mapping[str, Tensor]
"""Values of the latent sites by name, (K, B, ...)."""


@dataclass(frozen=True)
class LatentChains:
    """K chains for each of B data, in the shapes of ``particles``; the pair's parameters are held fixed."""

    particles: Particles
    needed_by: str
    """Who asks, for errors."""

    def start(self) -> Latents:
        """Where the particles are."""
        return {name: self._site(name)["value"].detach() for name in self.particles.latents}

    def log_joint(self, z: Latents, power: Tensor | float = 1.0) -> Tensor:
        """log p(z) + b log p(x | z) for the power b, a number or (B,): (K, B), in nats."""
        run = self._scored(z)
        return run.log_prior + power * run.log_likelihood

    def log_likelihood(self, z: Latents) -> Tensor:
        """log p(x | z), (K, B), in nats."""
        return self._scored(z).log_likelihood

    def transition(
        self, z: Latents, step_size: Tensor, num_leapfrogs: int, power: Tensor | float = 1.0
    ) -> tuple[Latents, Tensor]:
        """The next states, and the probability of acceptance at each of K x B chains, a mean over kinds of moves.

        Args:
            z: the states.
            step_size: e, () or (B,).
            num_leapfrogs: for continuous latents.
            power: b, a number or (B,).

        Raises:
            UsageError: a discrete latent is none of Bernoulli, OneHotCategorical and Categorical, or the support of a
                continuous one has no bijection from the reals (it is named).
        """
        z, rate, _ = self._transition(z, step_size, num_leapfrogs, power, None)
        return z, rate

    def transitions(self, z: Latents, step_size: Tensor, num_leapfrogs: int, num: int) -> tuple[Latents, Tensor]:
        """``num`` (>= 1) of :meth:`transition`, which says what it raises, and the mean of their acceptances, (K, B).

        Where all latents are continuous, the slope at a state is taken once.
        """
        rates, seen = [], None
        for _ in range(num):
            z, rate, seen = self._transition(z, step_size, num_leapfrogs, 1.0, seen)
            rates.append(rate)
        return z, torch.stack(rates).mean(0)

    def unconstrained(self, z: Latents) -> Latents:
        """u = T^-1(z) of continuous latents."""
        return {name: self._transform(name).inv(value) for name, value in z.items()}

    def log_density(self, u: Latents, z: Latents, power: Tensor | float = 1.0) -> Tensor:
        """The (tempered) log p(u, x), (K, B), in nats, given those latents in ``z`` that ``u`` has not."""
        values = {name: self._transform(name)(leaf) for name, leaf in u.items()}
        total = self.log_joint({**z, **values}, power)
        for name, leaf in u.items():
            total = total + self._for_data(name, self._transform(name).log_abs_det_jacobian(leaf, values[name]))
        return total

    def _scored(self, z: Latents) -> Particles:
        """The pair's sites at latents ``z``; those outside the data plate stay as the particles have them."""
        run = self.particles
        return run_particles(run.program, run.batch, run.num_particles, {**run.shared, **z})

    def _transition(
        self, z: Latents, step_size: Tensor, num_leapfrogs: int, power: Tensor | float, seen: Seen | None
    ) -> tuple[Latents, Tensor, Seen | None]:
        """The next states, the acceptance, and what was seen at these states, if no discrete latent moved after it."""
        discrete = [name for name in z if self._is_discrete(name)]
        continuous, rates = [name for name in z if name not in discrete], []
        if continuous:
            z, rate, seen = self._hamiltonian(z, continuous, step_size, num_leapfrogs, power, seen)
            rates.append(rate)
        for name in discrete:
            z, rate = self._flip(z, name, power)
            rates.append(rate)
        return z, torch.stack(rates).mean(0), None if discrete else seen

    def _flip(self, z: Latents, name: str, power: Tensor | float) -> tuple[Latents, Tensor]:
        family = family_of(self._site(name), self.needed_by)
        moved = {**z, name: family.neighbour(self._site(name)["fn"], z[name])}
        with torch.no_grad():
            gain = self.log_joint(moved, power) - self.log_joint(z, power)  # (K, B)
        yes, rate = _accepted(gain)
        return self._either(yes, moved, z), rate

    def _hamiltonian(
        self,
        z: Latents,
        names: list[str],
        step_size: Tensor,
        num_leapfrogs: int,
        power: Tensor | float,
        seen: Seen | None,
    ) -> tuple[Latents, Tensor, Seen]:
        u = self.unconstrained({name: z[name] for name in names})
        r = {name: torch.randn_like(u[name]) for name in names}
        drawn = step_size * (0.8 + 0.4 * torch.rand_like(step_size))
        e = {name: self._beside(name, drawn.expand_as(self._kinetic(r)), u[name]) for name in names}
        start, end, moved_u, moved_r = leapfrogs(
            lambda parts: self.log_density(dict(zip(names, parts, strict=True)), z, power),
            [u[name] for name in names],
            [r[name] for name in names],
            [e[name] for name in names],
            num_leapfrogs,
            seen,
        )
        after = dict(zip(names, moved_r, strict=True))
        moved = {**z, **{name: self._transform(name)(value) for name, value in zip(names, moved_u, strict=True)}}
        yes, rate = _accepted(end[0] - self._kinetic(after) - (start[0] - self._kinetic(r)))
        slopes = self._either(yes, *(dict(zip(names, there[1], strict=True)) for there in (end, start)))
        return self._either(yes, moved, z), rate, (torch.where(yes, end[0], start[0]), list(slopes.values()))

    def _transform(self, name: str) -> Any:
        """T of a continuous latent, z = T(u)."""
        return unconstraining(self._site(name), self.needed_by)

    def _kinetic(self, r: Latents) -> Tensor:
        """|r|^2 / 2, (K, B)."""
        return torch.stack([self._for_data(name, value.square() / 2) for name, value in r.items()]).sum(0)

    def _either(self, yes: Tensor, moved: Latents, z: Latents) -> Latents:
        """What moved where ``yes``, (K, B), and else what was."""
        return {name: torch.where(self._beside(name, yes, z[name]), moved[name], z[name]) for name in z}

    def _is_discrete(self, name: str) -> bool:
        """Whether guide or model, whose guide may be a point at one of its values, draws it from values apart."""
        sites = (self._site(name), self.particles.model_sites[name])
        return any(site["fn"].support.is_discrete for site in sites)

    def _site(self, name: str) -> Any:
        return self.particles.guide_sites[name]

    def _for_data(self, name: str, values: Tensor) -> Tensor:
        """Summed over all dims but particles and data: (K, B)."""
        return per_datum(self._site(name), self.particles.plate, values, self._event_dim(values)).sum(-1)

    def _beside(self, name: str, values: Tensor, like: Tensor) -> Tensor:
        """(K, B) with dims of size 1 where the site's values have others."""
        axis = side_axis(self._site(name), self.particles.plate, like, self._event_dim(like))
        return values.reshape([size if dim in (0, axis) else 1 for dim, size in enumerate(like.shape)])

    def _event_dim(self, values: Tensor) -> int:
        """Dims to the right of the plates."""
        return values.dim() + self.particles.particle_dim


def _accepted(gain: Tensor) -> tuple[Tensor, Tensor]:
    """Metropolis' rule for the gain in log-density, (K, B), and its chance; -inf and NaN are refused."""
    gain = gain.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
    return torch.rand_like(gain).log() < gain, gain.clamp_max(0.0).exp()
