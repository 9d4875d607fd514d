"""K distinct joint states of a datum's discrete latents: draws without replacement, by Gumbel-top-k over branches.

Perturb the log-probability of each state s by a standard Gumbel variable of its own, G_s = log q(s) + Gumbel: the K
states with the greatest G_s are K draws without replacement from q, the first of them first (Vieira 2014; Kool et al.
2019). Their states need not be listed. Of a set A of states, a *branch* (those that begin with the same units),

    max_{s in A} G_s ~ log q(A) + Gumbel,        argmax_{s in A} G_s ~ q(s | A),        independent of one another,

so that a branch is known by its mass and its greatest G, and is only looked into when that is the next greatest of all.
Its state is then drawn, unit by unit as the guide has them, and the rest of it is cut into branches, one for each other
level of each unit, whose greatest G are independent Gumbel variables truncated at that of the state: for a Gumbel
variable of location l below g, with E ~ Exp(1), -log(e^-g + E e^-l).

For D units of C levels in a site, K states take K steps over at most K D C branches. What the guide draws after a site
hangs on its states: of each site K states are kept with their greatest G, the branches into which the next site cuts.
A reparameterized latent between two sites is drawn once for all states that go on from there, so that given its noise
the states have probabilities that sum to one.

Kool, van Hoof, Welling: Stochastic Beams and Where to Find Them, ICML 2019, section 4; and Ancestral Gumbel-Top-k
Sampling for Sampling Without Replacement, JMLR 2020. Maddison, Tarlow, Minka: A* Sampling, NeurIPS 2014, for the
order in which branches are looked into.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.nn.functional import one_hot

from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.parameters import kept_buffers
from ppgen.pairs.sites import Site, is_chosen, is_latent, own_dims
from ppgen.pairs.structure import runner_of
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.pairs.unit_noise import log_exponential, open_uniform

__all__ = ["Branches", "distinct_states"]


@dataclass(frozen=True)
class Branches:
    """K branches of each datum, disjoint, in the order of their greatest G; at the end each is one state.

    Where there are fewer than K, the last ones have no mass: ``log_mass`` and ``gumbel`` are minus infinity.
    """

    log_mass: Tensor
    """log q of each, (K, B), in nats."""
    gumbel: Tensor
    """The greatest perturbed log-probability in each, (K, B)."""
    log_rest: Tensor
    """log q of all states that are in none, (B,), summed from what was left out: there is no 1 - sum."""
    threshold: Tensor
    """The greatest perturbed log-probability in none, (B,)."""

    @classmethod
    def root(cls, num: int, like: Tensor) -> Branches:
        """All states in the first branch; of as many data, and of the kind, as ``like``, (B,)."""
        nothing = torch.full_like(like, -math.inf)
        mass = torch.stack([torch.zeros_like(like), *[nothing] * (num - 1)])
        return cls(mass, mass - _noise(mass), nothing, nothing)

    def cut(self, log_probs: Tensor) -> tuple[Branches, Tensor, Tensor]:
        """The K first of the branches that each are at one state of further units.

        Args:
            log_probs: log q of the levels of those units in each branch, (K, B, D, C), in nats.

        Returns:
            these; from which of the branches each was cut, (K, B); the levels of its units, (K, B, D).
        """
        num, size, units, _ = log_probs.shape
        places = torch.arange(num, device=log_probs.device)[:, None].expand(num, size)
        forest = _Forest(self.log_mass, self.gumbel, places, places.new_zeros(num, size, units))
        found = []
        for _ in range(num):
            forest, *state = forest.without_first(log_probs)
            found.append(state)
        mass, gumbel = (torch.stack(tables) for tables in zip(*found, strict=True))
        rest = torch.logaddexp(self.log_rest, forest.log_mass.logsumexp(0))
        threshold = torch.maximum(self.threshold, forest.gumbel.amax(0))
        return Branches(mass, gumbel, rest, threshold), forest.parents[num:], forest.levels[num:]


class _Forest(NamedTuple):
    """K branches and what was left of them around the states that were found: for each state D C more, by the unit at
    which they part from it and the level that they have there."""

    log_mass: Tensor
    """Of those K and the others, (N, B)."""
    gumbel: Tensor
    parents: Tensor
    """Of which of the K branches each of these and each state is a part, (K + states, B)."""
    levels: Tensor
    """Of the units of each state, (K + states, B, D); of the K, zeros."""

    def without_first(self, log_probs: Tensor) -> tuple[_Forest, Tensor, Tensor]:
        """What is left without the state of the greatest G, to whose tables it is added; its log q and its G, (B,)."""
        num, size, units, classes = log_probs.shape
        data, place = (torch.arange(n, device=log_probs.device) for n in (size, units))
        first = self.gumbel.argmax(0)  # (B,)
        mass, gumbel = self.log_mass[first, data], self.gumbel[first, data]
        left, within = first < num, first - num  # whether it is one of the K, whole; else which of the others
        source = torch.where(left, first, num + within // (units * classes))
        unit = torch.where(left, -1, within // classes % units)[:, None]
        parent, levels = self.parents[source, data], self.levels[source, data]
        chances = log_probs[parent, data]  # (B, D, C)
        drawn = (chances - _of_each_datum(chances)).argmax(-1)  # (B, D)
        levels = torch.where(place < unit, levels, torch.where(place == unit, (within % classes)[:, None], drawn))
        taken, is_open = one_hot(levels, classes).bool(), place > unit
        own = torch.where(is_open, chances.where(taken, 0.0).sum(-1), 0.0)  # (B, D)
        to_the_left = mass[:, None] + own.cumsum(-1) - own
        others = to_the_left[..., None] + chances.masked_fill(taken | ~is_open[..., None], -math.inf)  # (B, D, C)
        truncated = -torch.logaddexp(-gumbel[:, None, None], _of_each_datum(others) - others)
        log_mass = torch.cat([self.log_mass.scatter(0, first[None], -math.inf), others.flatten(1).T])
        gumbels = torch.cat([self.gumbel.scatter(0, first[None], -math.inf), truncated.flatten(1).T])
        parents, states = torch.cat([self.parents, parent[None]]), torch.cat([self.levels, levels[None]])
        return _Forest(log_mass, gumbels, parents, states), mass + own.sum(-1), gumbel


def distinct_states(program: Program, batch: Batch, num: int, needed_by: str) -> tuple[Particles, Branches]:
    """K >= 2 particles at distinct joint states of the guide's discrete latents, and these states with their masses.

    Reparameterized latents after them are drawn for each state. Where there are fewer than K states, some are there
    again, without mass.
    """
    given: dict[str, Tensor] = {}
    with kept_buffers(program.model, program.guide):
        runner = runner_of(program, batch, num)
        sites = runner.guide(given)[0]
        names = [name for name, site in sites.items() if is_latent(site) and not site["fn"].has_rsample]
        branches = Branches.root(num, _log_probs(sites[names[0]], num, needed_by)[0, :, 0, 0])
        for name in names:
            sites = runner.anew().guide(given)[0] if given else sites
            branches, parents, levels = branches.cut(_log_probs(sites[name], num, needed_by))
            value = _at_levels(sites[name], levels, needed_by)
            given = {**_before(sites, name, parents, runner.together), name: value}
    return run_particles(program, batch, num, given), branches


@torch.no_grad()
def _log_probs(site: Site, num: int, needed_by: str) -> Tensor:
    """log q of the levels of the site's units, (K, B, D, C), in nats."""
    table = family_of(site, needed_by).level_log_probs(site["fn"])
    return table.reshape(num, math.prod(site["fn"].batch_shape) // num, -1, table.shape[-1])


def _at_levels(site: Site, levels: Tensor, needed_by: str) -> Tensor:
    """The value whose units have these levels, (K, B, D)."""
    family, fn, value = family_of(site, needed_by), site["fn"], site["value"]
    units = family.level_log_probs(fn).shape[len(fn.batch_shape) : -1]
    return family.at_levels(fn, levels.reshape(*levels.shape[:-1], *units)).reshape(value.shape)


def _before(sites: Mapping[str, Site], name: str, parents: Tensor, together: bool) -> dict[str, Tensor]:
    """What the guide drew before this site, of the particle that each goes on from, (K, ...)."""
    shape = sites[name]["fn"].batch_shape
    data_dim = next((dim for dim in range(-1, -len(shape), -1) if shape[dim] > 1), None)
    found = {}
    for site in itertools.takewhile(lambda site: site["name"] != name, sites.values()):
        value = site["value"]
        if site_is_subsample(site):
            if not together or len(value) > 1:  # a single index would be read as one for all particles
                found[site["name"]] = value if together else value.expand(len(parents), *value.shape)
        elif is_chosen(site):
            index = [len(parents), *[1] * (value.dim() - 1)]
            if data_dim is not None:
                index[value.dim() - own_dims(site) + data_dim] = parents.shape[1]
            found[site["name"]] = value.gather(0, parents.reshape(index).expand_as(value))
    return found


def _of_each_datum(like: Tensor) -> Tensor:
    """log E of the shape (B, ...), drawn with data last, as all other noise has them."""
    return _noise(like.movedim(0, -1)).movedim(-1, 0)


def _noise(like: Tensor) -> Tensor:
    """log E, E ~ Exp(1)."""
    return log_exponential(open_uniform(like))
