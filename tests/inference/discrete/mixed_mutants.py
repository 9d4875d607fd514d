"""Estimators for pairs with scored and reparameterized latents, with one mistake each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ppgen.inference import REINFORCE, VIMCO, DisARM, DReG, Enumerate
from ppgen.inference.pathwise import gdreg
from ppgen.objectives.discrete.decisions import Decided
from ppgen.objectives.discrete.enumeration import expected_bound
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.reductions import weighted_sum
from ppgen.pairs.tracing import Batch, Particles, Program
from tests.discrete_doubles import Blend, Braid
from tests.inference.discrete.mutant import Mutant

__all__ = ["MIXED", "StatesOutOfWeights", "WholeWeight"]


@dataclass(frozen=True, kw_only=True)
class NoPathOfLogits(DisARM):
    """Logits do not hand their gradient on to the reparameterized site that they depend on."""

    def _ascent(self, particles: Particles, states: Decided) -> Tensor:
        return super()._ascent(particles.with_fixed(latents=True), states)


@dataclass(frozen=True, kw_only=True)
class WholeWeight(VIMCO):
    """Takes each particle's whole weight out of its score, not only the part that cannot see it."""

    def signal(self, log_w: Tensor, predicted: Tensor, unit: Tensor | float = 1.0) -> Tensor:
        return super().signal(log_w, predicted, unit) + self.reduction.weights(log_w)


@dataclass(frozen=True, kw_only=True)
class NoPath(REINFORCE):
    """Log q of a discrete site without the path of the reparameterized site that it depends on."""

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        particles = self.draw(program, batch)
        log_w = particles.log_w.detach()
        signal = self.signal(log_w, (log_w.sum(0) - log_w) / (len(log_w) - 1))
        fixed = particles.with_fixed(latents=True)
        value = self.estimate(particles) + (signal * fixed.log_q_of(fixed.scored)).sum(0)
        return Outcome(-value.sum(), len(value))


@dataclass(frozen=True, kw_only=True)
class NoPathwise(REINFORCE):
    """The pathwise part is dropped: log-weights do not follow the reparameterized site."""

    def estimate(self, particles: Particles) -> Tensor:
        return super().estimate(particles.with_fixed(latents=True))


@dataclass(frozen=True, kw_only=True)
class ScoredToo(REINFORCE):
    """The reparameterized site is counted twice: by its path, and by its score."""

    def _ascent(self, particles: Particles, expansion: Any, predicted: Tensor, unit: Tensor | float) -> Tensor:
        signal = self.signal(particles.log_w.detach(), predicted, unit)
        fixed = particles.with_fixed(latents=True)
        beside = [name for name in particles.latents if name not in particles.scored]
        return super()._ascent(particles, expansion, predicted, unit) + (signal * fixed.log_q_of(beside)).sum()


@dataclass(frozen=True, kw_only=True)
class PathOfDensity(DisARM):
    """The reparameterized site's own log q is left out of the log-weights' gradient."""

    def estimate(self, particles: Particles) -> Tensor:
        own = particles.log_q_of([name for name in particles.latents if name not in particles.scored])
        return super().estimate(particles) + (own - own.detach()).mean(0)


@dataclass(frozen=True, kw_only=True)
class StatesOutOfWeights(DReG):
    """The path derivative of log w without log q of the states, which the pathwise part by log w itself leaves out."""

    def along(self, particles: Particles, v: Tensor, c: Tensor) -> Tensor:
        along_path = particles.with_fixed(model=True, guide=True)
        return super().along(particles, v, c) + weighted_sum(c, along_path.log_q_of(along_path.scored))


@dataclass(frozen=True, kw_only=True)
class NotSquared(DReG):
    """The weights of sticking the landing, under any bound."""

    def path_weights(self, bound: Any, log_w: Tensor) -> Tensor:
        return bound.weights(log_w)  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class ParametersFree(DReG):
    """The guide's parameters are not held."""

    def along(self, particles: Particles, v: Tensor, c: Tensor) -> Tensor:
        for_model = particles.with_fixed(latents=True).log_p
        return weighted_sum(c, particles.with_fixed(model=True).log_w) + weighted_sum(v, for_model)


_of = gdreg._Slopes.of


def slopes_without_states(particles: Particles, priors: list[str]) -> gdreg._Slopes:
    """A prior's path is weighed by log q without that of the states that depend on it."""
    with torch.enable_grad():
        sites = {n: gdreg._leaf(s) if n in priors else s for n, s in particles.guide_sites.items()}
        apart = replace(particles, guide_sites=sites).with_fixed(model=True, guide=True)
        leaves = [sites[name]["value"] for name in priors]
        missed = torch.autograd.grad(apart.log_q_of(apart.scored).sum(), leaves)
    right = _of(particles, priors)
    return replace(right, own={name: right.own[name] - off for name, off in zip(priors, missed, strict=True)})


@dataclass(frozen=True, kw_only=True)
class ScoreOfTables(Enumerate):
    """The sum over states whose pathwise part is a path derivative, and whose states keep their own log q beside."""

    def _surrogate(self, path: Any, particles: Particles, tables: Any, log_q: Tensor) -> Tensor:
        own = expected_bound(self.reduction, tables[0] + log_q - log_q.detach(), tables[1])
        return super()._surrogate(path, particles, tables, log_q) + own


@dataclass(frozen=True, kw_only=True)
class DrawnOnce(Enumerate):
    """The reparameterized site is held fixed where states are summed."""

    def estimate(self, particles: Particles) -> Tensor:
        return super().estimate(particles.with_fixed(latents=True))


def _path(pathwise: Any) -> VIMCO:
    return VIMCO(num_particles=2, pathwise=pathwise)


_disarm = DisARM(num_particles=2)
_tight: dict[str, Any] = {"bound": "iwelbo", "num_particles": 2}

MIXED = [
    Mutant(_disarm, NoPathOfLogits(num_particles=2), Blend, rounds=8),
    Mutant(REINFORCE(num_particles=3), NoPath(num_particles=3), Blend),
    Mutant(REINFORCE(num_particles=3), NoPathwise(num_particles=3), Blend),
    Mutant(REINFORCE(num_particles=3), ScoredToo(num_particles=3), Blend),
    Mutant(_disarm, PathOfDensity(num_particles=2), Blend),
    Mutant(Enumerate(), DrawnOnce(), Blend),
    Mutant(_path("dreg"), _path(StatesOutOfWeights()), Blend),
    Mutant(_path("dreg"), _path(StatesOutOfWeights()), Braid),
    Mutant(_path("dreg"), _path(NotSquared()), Blend),
    Mutant(_path("dreg"), _path(ParametersFree()), Braid),
    Mutant(_path("dreg"), WholeWeight(num_particles=2, pathwise="dreg"), Blend),
    Mutant(_path("gdreg"), _path("gdreg"), Blend, "ppgen.inference.pathwise.gdreg._Slopes.of", slopes_without_states),
    Mutant(Enumerate(**_tight, pathwise="dreg"), ScoreOfTables(**_tight, pathwise="dreg"), Blend),
]
