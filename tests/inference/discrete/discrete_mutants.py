"""Estimators for discrete latents with one mistake each: what the truth harness must catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ppgen.inference import (
    ARM,
    OVIS,
    REBAR,
    REINFORCE,
    RODEO,
    VIMCO,
    DisARM,
    DisARMTree,
    DoubleCV,
    Enumerate,
    LocalExpectation,
    MuProp,
    UnorderedSet,
)
from ppgen.inference.discrete import local_expectation
from ppgen.objectives.discrete import antithetic, without_replacement
from ppgen.objectives.discrete.coupled_draws import Relaxations
from ppgen.objectives.discrete.decisions import Decided
from ppgen.objectives.discrete.enumeration import expected_bound
from ppgen.objectives.discrete.score_function import without_own
from ppgen.objectives.discrete.stein_operators import GibbsOperator
from ppgen.objectives.discrete.unordered import Shares
from ppgen.pairs.discrete_families import BernoulliFamily
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Particles
from tests.discrete_doubles import Choice, TinyDeepSBN, TinySBN
from tests.inference.discrete.mixed_mutants import MIXED, WholeWeight
from tests.inference.discrete.mutant import Mutant

__all__ = ["MUTANTS"]


def sloped(cls: type[Any], name: str, slope: Callable[..., Tensor]) -> Any:
    """An antithetic estimator's class with another slope, a function of the right one and its arguments."""

    def wrong(self: Any, *arguments: Tensor) -> Tensor:
        return slope(cls.slope(self, *arguments), *arguments)

    return type(name, (cls,), {"slope": wrong})


Flipped = sloped(ARM, "Flipped", lambda slope, *_: -slope)
TwoPercent = sloped(ARM, "TwoPercent", lambda slope, *_: 1.02 * slope)
NotHalved = sloped(DisARM, "NotHalved", lambda slope, *_: 2 * slope)
Unweighted = sloped(DisARM, "Unweighted", lambda slope, u, p, unit, mirrored: (unit - mirrored) / 2)
OtherProbability = sloped(
    DisARM, "OtherProbability", lambda slope, u, p, unit, mirrored: (unit - mirrored) * (1 - p) / 2
)


class StillLayers(antithetic.Branches):
    """A branch keeps the run's values at later sites, as if they did not depend on the mirrored one."""

    def __call__(self, site: Site) -> Tensor:
        before, num = len(self.states.noise), self.num_runs
        value = super().__call__(site)
        if site["fn"].has_rsample:
            return value
        return torch.cat([*[value[:num]] * (before + 1), value[(before + 1) * num :]])


def no_weights(bound: Any, others: Tensor, own: Tensor) -> Tensor:
    """The bound alone, without the derivative that log w's own log q brings."""
    return without_own(bound, others, own)[0]


@dataclass(frozen=True, kw_only=True)
class HeldProbabilities(Enumerate):
    """No gradient through the probabilities of states."""

    def estimate(self, particles: Particles) -> Tensor:
        return expected_bound(self.reduction, particles.log_w, particles.log_q.detach())


@dataclass(frozen=True, kw_only=True)
class HeldWeights(Enumerate):
    """No gradient through log q in the log-weights: harmless for the ELBO, and wrong for other bounds."""

    def estimate(self, particles: Particles) -> Tensor:
        return expected_bound(self.reduction, particles.log_p - particles.log_q.detach(), particles.log_q)


_relax_given = BernoulliFamily.relax_given


def held_relaxation(self: Any, *arguments: Any) -> Tensor:
    """No gradient along the relaxation given the state: half of the control variate's expectation is kept back."""
    return _relax_given(self, *arguments).detach()


@dataclass(frozen=True, kw_only=True)
class NoMeans(MuProp):
    """The expansion is taken off, and its expectation not given back."""

    def _expansion(self, particles: Particles) -> Any:
        expansion: Any = super()._expansion(particles)
        return replace(expansion, means=expansion.means.detach())


@dataclass(frozen=True, kw_only=True)
class NoMeansOfOthers(DoubleCV):
    """The other particles' slopes are taken off, and what that does to the expectation is not given back."""

    def _expansion(self, particles: Particles) -> Any:
        expansion: Any = super()._expansion(particles)
        return replace(expansion, means=expansion.means.detach())


@dataclass(frozen=True, kw_only=True)
class OwnControl(OVIS):
    """A particle stands in for itself too."""

    def _auxiliary(self, particles: Particles) -> Tensor:
        return particles.log_w.detach()


class StillLayersAfter(local_expectation._Changed):
    """Later sites keep their values, as if they did not depend on the unit that was moved."""

    def __call__(self, site: Site) -> Tensor:
        before = sum(len(self.moved[other]) for other in self.seen)
        value = super().__call__(site)
        drawn = self.runs.guide_sites[site["name"]]["value"]
        return torch.cat([*[drawn] * before, value[before * len(drawn) :]])


@dataclass(frozen=True, kw_only=True)
class SeesItself(REINFORCE):
    """The baseline is the mean of all particles, its own among them."""

    def signal(self, log_w: Tensor, predicted: Tensor, unit: Tensor | float = 1.0) -> Tensor:
        return super().signal(log_w, log_w.mean(0).expand(log_w.shape), unit)


@dataclass(frozen=True, kw_only=True)
class InItsOwnBaseline(REBAR):
    """A particle's own log-weight has a share in its baseline."""

    def _baseline(self, rest: Tensor, *arguments: Any) -> Any:
        _, state = super()._baseline(rest, *arguments)
        return rest.mean(1, keepdim=True).expand(rest.shape), state


def without_path(self: Relaxations, name: str, slope: Tensor) -> Tensor:
    return torch.zeros_like(self.states.logits(self.hard, name))


def half_a_path(self: Relaxations, name: str, slope: Tensor) -> Tensor:
    """The path of the free relaxation, without that of the one given z."""
    fn = self.hard.guide_sites[name]["fn"]
    logits = fn.base_dist.logits.expand(fn.shape()).detach().requires_grad_()
    u, temperature = self.states.noise[name], self.temperatures[self._before(name)]
    relaxed = ((logits + u.logit()) / temperature).sigmoid()
    found: Tensor = torch.autograd.grad(relaxed, logits, slope, create_graph=True)[0]
    return found


def mean_of_all(numbers: Tensor) -> Tensor:
    """A particle is among the others of its own surrogate."""
    return numbers.mean(0, keepdim=True).expand_as(numbers)


def nothing_given_back(self: GibbsOperator, differences: Tensor) -> Tensor:
    """The surrogate is taken off, and its mean over the unit not given back."""
    return torch.zeros_like(differences)


class OffTheWalk(Decided):
    """Every decision counts as seen: those off the walk as if they had gone left."""

    def steps(self, particles: Particles, name: str) -> Tensor:
        steps = super().steps(particles, name)
        return torch.where(steps == 0, -1.0, steps)


def reversed_odds(self: Any, family: Any, fn: Any) -> Tensor:
    """The log-odds of a node are those of its left: the units follow another law."""
    return -_odds(self, family, fn)


_odds = Decided.odds


def of_others_alone(self: Shares, f: Tensor) -> Tensor:
    """The prediction of f without what is known: the state's own share."""
    return f - (self.others * f).sum(1)


@dataclass(frozen=True, kw_only=True)
class EqualShares(UnorderedSet):
    """States that were drawn without replacement are weighted as if with it."""

    def weighted(self, particles: Particles, shares: Shares) -> Tensor:
        return super().weighted(particles, replace(shares, first=torch.full_like(shares.first, 1 / len(shares.first))))


def of_no_parent(sites: Any, name: str, parents: Tensor, together: bool) -> dict[str, Tensor]:
    """Layers before a site stay as they were, whatever branch its states were cut from."""
    return _before(sites, name, torch.arange(len(parents))[:, None].expand_as(parents), together)


_before = without_replacement._before

_arm, _disarm = ARM(num_particles=2), DisARM(num_particles=2)
_tree = DisARMTree(num_particles=2)
_tight: dict[str, Any] = {"bound": "iwelbo", "num_particles": 2}
_rebar = REBAR(num_particles=2)


MUTANTS = [
    Mutant(_arm, Flipped(num_particles=2), TinySBN),
    Mutant(_arm, TwoPercent(num_particles=2), TinySBN, rounds=12),
    Mutant(_disarm, NotHalved(num_particles=2), TinySBN),
    Mutant(_disarm, Unweighted(num_particles=2), TinySBN),
    Mutant(_disarm, OtherProbability(num_particles=2), TinySBN),
    Mutant(_disarm, _disarm, TinyDeepSBN, "ppgen.objectives.discrete.antithetic.Branches", StillLayers),
    Mutant(_disarm, _disarm, Choice, "ppgen.objectives.discrete.antithetic.Decided", OffTheWalk),
    Mutant(_tree, _tree, Choice, "ppgen.inference.discrete.disarm_tree.Decided", OffTheWalk),
    Mutant(_tree, _tree, Choice, "ppgen.objectives.discrete.decisions.Decided.odds", reversed_odds),
    Mutant(DisARM(**_tight), DisARM(**_tight), TinySBN, "ppgen.objectives.discrete.antithetic.coefficient", no_weights),
    Mutant(Enumerate(), HeldProbabilities(), TinySBN, rounds=1),
    Mutant(Enumerate(**_tight), HeldWeights(**_tight), TinySBN, rounds=1),
    Mutant(_rebar, _rebar, TinySBN, "ppgen.pairs.discrete_families.BernoulliFamily.relax_given", held_relaxation),
    Mutant(MuProp(num_particles=2), NoMeans(num_particles=2), TinySBN),
    Mutant(DoubleCV(), NoMeansOfOthers(), TinySBN),
    Mutant(RODEO(), RODEO(), TinySBN, "ppgen.inference.discrete.rodeo._others", mean_of_all),
    Mutant(RODEO(), RODEO(), TinySBN, "ppgen.inference.discrete.rodeo.GibbsOperator.scored", nothing_given_back),
    Mutant(OVIS(num_particles=2), OwnControl(num_particles=2), TinySBN),
    Mutant(
        LocalExpectation(),
        LocalExpectation(),
        TinyDeepSBN,
        "ppgen.inference.discrete.local_expectation._Changed",
        StillLayersAfter,
    ),
    Mutant(
        UnorderedSet(num_particles=2),
        UnorderedSet(num_particles=2),
        Choice,
        "ppgen.objectives.discrete.unordered.Shares.signal",
        of_others_alone,
    ),
    Mutant(UnorderedSet(num_particles=2), EqualShares(num_particles=2), TinySBN),
    Mutant(
        UnorderedSet(num_particles=3),
        UnorderedSet(num_particles=3),
        TinyDeepSBN,
        "ppgen.objectives.discrete.without_replacement._before",
        of_no_parent,
    ),
    Mutant(REINFORCE(), SeesItself(), TinySBN),
    Mutant(VIMCO(num_particles=2), WholeWeight(num_particles=2), TinySBN),
    Mutant(REBAR(num_particles=3), InItsOwnBaseline(num_particles=3), TinyDeepSBN),
    Mutant(REBAR(), REBAR(), TinyDeepSBN, "ppgen.objectives.discrete.coupled_draws.Relaxations.path", without_path),
    Mutant(REBAR(), REBAR(), TinyDeepSBN, "ppgen.objectives.discrete.coupled_draws.Relaxations.path", half_a_path),
    *MIXED,
]
