"""Bounds whose latents move after the guide has drawn them: log-weights of whole trajectories."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ppgen.arguments import Count
from ppgen.chains.unconstrained import FreeLatents
from ppgen.errors import UsageError, shown
from ppgen.objectives.bounds import BoundName, Estimator
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.parameters import isolated
from ppgen.pairs.rows import like_data
from ppgen.pairs.sites import is_point
from ppgen.pairs.tracing import Batch, Particles, Program
from ppgen.pairs.transformed import NO_INVERSE

__all__ = ["Moving", "kinetic"]


@dataclass(frozen=True, kw_only=True)
class Moving(Estimator, ABC):
    """A bound of the weights of trajectories, whose step sizes and schedule are the objective's own parameters.

    E[w] is p(x) for each trajectory, so the mean of log w is a bound, and so is any other ``bound`` of independent
    weights. The gradient is the pathwise one of all that was drawn. With ``adaptive=False``, and in Pyro's ``SVI``,
    which trains the pair's parameters alone, the objective's own stay as they begin.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`motion`, what it learns, and
    :meth:`log_weights`; 3. register it.

    Raises:
        UsageError: when the pair is run: there is no latent; one has no reparameterized sample, is held at a point, has
            a support to which torch has no bijection from the reals, or stands outside the data plate.
    """

    needs_rsample = True
    per_datum = True

    num_particles: Scheduled[Count] = 1
    bound: BoundName = "elbo"
    adaptive: bool = True

    @abstractmethod
    def motion(self, num_coordinates: int) -> nn.Module:
        """What is learnt of the motion, as it begins, for latents of so many unconstrained coordinates a datum."""

    @abstractmethod
    def log_weights(self, free: FreeLatents, motion: Any) -> Tensor:
        """log w of each trajectory from the guide's draws, (K, B), in nats."""

    @property
    def target(self) -> None:
        """None: ``bound`` is taken of the trajectories' weights, which are no function of the guide's."""

    def estimate(self, particles: Particles) -> Tensor:
        free = FreeLatents(particles, type(self).__name__)
        own = particles.program.own
        return self.reduction.reduce(self.log_weights(free, self._begun(free) if own is None else own))

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        program: Any = pair
        with torch.no_grad(), torch.random.fork_rng(), isolated():
            now: Any = self.at(0)
            particles = now.draw(Program(program.model, program.guide), batch)
            begun = self._begun(FreeLatents(particles, type(self).__name__))
            return begun.to(like_data(batch)).requires_grad_(self.adaptive)

    def _begun(self, free: FreeLatents) -> nn.Module:
        return self.motion(free.start.shape[-1]).to(free.start)

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        name = type(self).__name__
        if not particles.latents:
            raise UsageError(f"{name} moves the latents of each datum, and the guide has none: use 'elbo'.")
        for latent in particles.latents:
            if is_point(particles.guide_sites[latent]):
                raise UsageError(
                    f"site {shown(latent)} of the guide is a point given what it was made of, and {name} needs its "
                    "density wherever it moves: use 'elbo', or a guide that draws the site itself (pyro.sample with a "
                    "distribution of its support)."
                )
        free = FreeLatents(particles, name)
        try:
            self.log_weights(free, self._begun(free))
        except NO_INVERSE as error:
            raise UsageError(
                f"{name} needs the guide's density wherever latents move, and the guide gives it at its own draws "
                "alone: use 'hamiltonian_elbo' or 'elbo', or a guide whose transforms have an inverse."
            ) from error


def kinetic(r: Tensor) -> Tensor:
    """|r|^2 / 2 of momenta (..., D): (...,)."""
    return r.square().sum(-1) / 2
