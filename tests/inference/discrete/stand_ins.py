"""The expectation of a gradient at states over all of them, and estimators with one mistake each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ppgen.inference import GappedStraightThrough, GumbelRao, ReinMax, ReinMaxCV, ReinMaxRao
from ppgen.objectives.discrete.relaxations import heun, relaxed_given
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Program, run_particles

__all__ = [
    "AlongTheDraw",
    "AnyNoise",
    "MidpointAlone",
    "NoExpectation",
    "NoMove",
    "TwoSlopes",
    "enumerated",
    "on_grid",
    "relative_bias",
]

GUIDE = ("slope", "offset", "logit", "encoder")
"""How the names of guides' parameters begin."""


def enumerated(objective: Any, pair: Any, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """The expected gradient of the ELBO of a pair with one layer of discrete latents: each state a particle.

    Noise beside the states' is as the families draw it.
    """
    program = Program(pair.model, pair.guide)
    one = run_particles(program, batch, 1)
    (name,) = one.scored
    site = one.guide_sites[name]
    states = family_of(site, "this test").states(site["fn"])  # (S, ...)

    def take(site: Site) -> Tensor:
        family, fn = family_of(site, "this test"), site["fn"]
        state = states.reshape(len(states), *[1] * (len(fn.shape()) - states.dim()), *states.shape[1:])
        state = state.expand(fn.shape())
        smooth = objective.stand_in(family, fn, None, state)
        taken: Tensor = state + (smooth - smooth.detach())
        return taken

    particles = run_particles(program, batch, len(states), draw=take)
    value = (particles.log_q.detach().exp() * particles.log_w).sum()
    named = dict(pair.named_parameters())
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


def relative_bias(objective: Any, pair: nn.Module, batch: tuple[Tensor, ...], exact: dict[str, Tensor]) -> float:
    """The norm of the bias of the guide's gradient over that of the gradient."""
    found = enumerated(objective, pair, batch)
    names = [name for name in found if name.startswith(GUIDE)]
    off, whole = (torch.cat([one[name].flatten() for name in names]) for one in (found, exact))
    return float((off - whole).norm() / whole.norm())


def on_grid(family: Any, fn: Any) -> Tensor:
    """Noise of copies of a distribution, (S, ...), on the midpoints of a grid: a mean over copies is an integral."""
    num = fn.shape()[0]
    points = (torch.arange(num, dtype=torch.float64) + 0.5) / num
    noise: Tensor = points.reshape(num, *[1] * (len(fn.shape()) - 1)).expand(fn.shape())
    return noise


@dataclass(frozen=True, kw_only=True)
class TwoSlopes(ReinMax):
    """Takes off the whole of J(pi), not half."""

    def stand_in(self, family: Any, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        whole: Tensor = family.spread(family.mean(fn).detach(), family.logits(fn))
        return super().stand_in(family, fn, u, state) - whole / 2


@dataclass(frozen=True, kw_only=True)
class NoMove(GappedStraightThrough):
    """The gap alone: a state that is not the likeliest is not lifted."""

    def stand_in(self, family: Any, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        mean = family.mean(family.of(family.logits(fn).detach()), self.temperature)
        stand_in: Tensor = family.spread(mean, family.logits(fn)) / self.temperature
        return stand_in


@dataclass(frozen=True, kw_only=True)
class AlongTheDraw(GumbelRao):
    """Differentiates the map that draws noise given the state, too."""

    def stand_in(self, family: Any, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        copies: Any = family.of(family.logits(fn).expand(self.inner_draws, *fn.shape()))
        relaxed: Tensor = family.relax_given(copies, state, family.uniforms(copies), self.temperature)
        return relaxed.mean(0)


@dataclass(frozen=True, kw_only=True)
class AnyNoise(GumbelRao):
    """Draws the inner noise without regard to the state."""

    def stand_in(self, family: Any, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        copies: Any = family.of(family.logits(fn).expand(self.inner_draws, *fn.shape()))
        relaxed: Tensor = family.relax(copies, family.uniforms(copies), self.temperature)
        return relaxed.mean(0)


@dataclass(frozen=True, kw_only=True)
class MidpointAlone(ReinMaxRao):
    """ReinMax with a relaxed value in the place of the state, and no more."""

    def stand_in(self, family: Any, fn: Any, u: Tensor, state: Tensor) -> Tensor:
        relaxed = relaxed_given(family, fn, state, self.temperature, self.inner_draws).mean(0)  # type: ignore[arg-type]
        return heun(family, fn, relaxed) + family.spread(relaxed, family.logits(fn)) / 2  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class NoExpectation(ReinMaxCV):
    """The control variate is taken off, and its expectation not given back."""

    def _control(self, site: Site) -> Tensor:
        family, fn = family_of(site, type(self).__name__), site["fn"]
        return -heun(family, fn, site["value"])
