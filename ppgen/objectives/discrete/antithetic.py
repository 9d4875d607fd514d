"""Antithetic pairs: the gradient of discrete latents by what changes when the noise of one layer is mirrored.

A unit is b = 1[u > sigmoid(-l)], l its logit, u uniform. Mirrored noise 1 - u has the same law and gives the antithetic
unit b' = 1[1 - u > sigmoid(-l)]. For units z_1, ..., z_D of logits l and any A, with c_i a function of u_i and l_i,

    grad_l_i E[A(b)] = E[ (A(b) - A(b')) c_i ],                                                                   (1)

    ARM       c_i = u_i - 1/2
    DisARM    c_i = (b_i - b'_i) sigmoid(|l_i|) / 2  =  E[ u_i - 1/2 | b_i, b'_i ].

Proof: the gradient is E[A(b) (b_i - sigmoid(l_i))], and A sees u through b alone, so that u_i - 1/2 may stand for its
mean given b_i, (1 - sigmoid(l_i)) / 2 for b_i = 1 and -sigmoid(l_i) / 2 for b_i = 0, that is (b_i - sigmoid(l_i)) / 2.
So the gradient is 2 E[A(b) (u_i - 1/2)], and -2 E[A(b') (u_i - 1/2)] in mirrored noise; ARM is the mean of both. As
A(b) - A(b') sees u through (b, b') alone, DisARM is ARM's mean given (b, b'): its variance is at most ARM's, for any A.

**Classes.** A one-hot unit is a walk down a binary tree, and so a function of bits, those of all nodes, by whose
log-odds a its logits come in (:mod:`ppgen.objectives.discrete.decisions`). (1) holds for the bits: A sees them through
the unit z alone, and A(b) - A(b') through (z, z'). So c_n may be its mean given (z, z'): that above at a node that both
walks come by. At one that only the run's comes by, b'_n and u_n beyond b_n are averaged over; so also where only the
branch's does; and where neither does, u_n is unseen:

    c_n = (b_n - sigmoid(a_n)) / 2,        c_n = -(b'_n - sigmoid(a_n)) / 2,        c_n = 0.                         (3)

Nodes are independent given (z, z') too, which says of each what b_n and b'_n are, or nothing.

**Layers.** For the discrete sites z_1, ..., z_L of a guide, in order, (1) holds for each l_i given what the guide drew
before z_i, with A_i(b) the mean of A over what comes after z_i = b. So a *run* draws all latents, and L *branches* of
it mirror the noise of one site each: before that site a branch is as the run, after it the branch goes on with the
run's own u at later sites (which leaves their law as it is, and run and branch alike), and draws later reparameterized
latents anew. The difference of A between run and branch, in place of A(b) - A(b'), has the expectation that (1) asks
for. K runs and their branches are one vectorized run of (L + 1) K particles, so that what the guide makes of x alone is
made once.

**Bounds of K particles.** Let f_k(b) be a bound f(log w_1, ..., log w_K) with b in the place of log w_k, v_k(b) its
derivative by b, and A_k(b) = f_k(b) - v_k(b): the score's whole coefficient, with the -v_k that log w_k's own log q
brings (:mod:`ppgen.objectives.discrete.score_function`). The other particles may be those of runs or of branches, each
K - 1 independent draws; both are taken. With run log-weights a_k and those of a branch a'_k,

    [ A_k(a_k; a) - A_k(a'_k; a) + A_k(a_k; a') - A_k(a'_k; a') ] / 2                                             (2)

stands for A(b) - A(b'). For the ELBO this is (a_k - a'_k) / K.

Everything else of the gradient, that of the model and along reparameterized latents, is taken at fixed b by autograd,
from runs and branches alike: each is a set of K independent particles, and the value is the mean of the L + 1 bounds.
The gradient by l_i is handed on to whatever l_i is made of: parameters, the path of earlier reparameterized latents.

Yin, Zhou: ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks, ICLR 2019, theorem 1 and section 3.2;
Dong, Mnih, Tucker: DisARM: An Antithetic Gradient Estimator for Binary Latent Variables, NeurIPS 2020, eq. 6 and
sections 3.1-3.3 (bounds of several particles, layers); Dong, Mnih, Tucker: Coupled Gradient Estimators for Discrete
Latent Variables, NeurIPS 2021 (classes).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.errors import LatentsError, UsageError
from ppgen.objectives.bounds import BoundName, Reduction
from ppgen.objectives.discrete.coupled_draws import Coupled
from ppgen.objectives.discrete.decisions import Decided
from ppgen.objectives.discrete.score_function import coefficient
from ppgen.objectives.objective import Scheduled, with_gradient_of
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.sites import Site, per_datum
from ppgen.pairs.tracing import Batch, Particles, Program, num_scored, run_particles

__all__ = ["Antithetic", "Branches", "averaged", "difference"]


@dataclass(frozen=True, kw_only=True)
class Antithetic(Coupled, ABC):
    """The gradient (1), (2) of ``bound`` with ``num_particles`` (K) runs, each with a branch for every discrete site.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`slope`; 3. register it.

    Raises:
        UsageError: when the pair is run: a latent without a reparameterized sample is not Bernoulli, there is none, or
            it stands outside the data plate.
    """

    num_particles: Scheduled[Count] = 1
    bound: BoundName = "elbo"

    @abstractmethod
    def slope(self, noise: Tensor, probability: Tensor, unit: Tensor, mirrored: Tensor) -> Tensor:
        """c of (1), for each bit that both the run and its branch see.

        Args:
            noise: u.
            probability: sigmoid(l).
            unit: b, 0 or 1.
            mirrored: b'.
        """

    def drawn_by(self) -> Decided:
        return Decided(type(self).__name__)

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        states, num, sites = self.drawn_by(), self.total_particles, num_scored(program, batch)
        particles = run_particles(program, batch, (sites + 1) * num, draw=Branches(states, sites, num))
        if len(particles.scored) < sites:
            raise _other_sites(type(self).__name__, sites)
        outcome = self.outcome(particles, self.estimate)  # of L + 1 sets, a mean
        surrogate = outcome.loss - particles.scale * self._ascent(particles, states)
        return replace(outcome, loss=with_gradient_of(outcome.loss, surrogate))

    def _ascent(self, particles: Particles, states: Decided) -> Tensor:
        """The sum over sites, particles, data and units of (1) times l: its gradient is that of the bound by l."""
        num = self.total_particles
        log_w, *mirrored = particles.log_w.detach().split(num)  # each (K, B)
        total: Tensor = log_w.new_zeros(())
        for i, (name, of_branch) in enumerate(zip(particles.scored, mirrored, strict=True)):
            gain = difference(self.reduction, log_w, of_branch)  # (K, B)
            slope = self._slope(particles, states, name, i)  # (K, B, F)
            total = total + (gain[..., None] * slope * states.logits(particles, name)[:num]).sum()
        return total

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        name = type(self).__name__
        for family in (family_of(particles.guide_sites[scored], name) for scored in particles.scored):
            if self.needs_binary and not family.binary:
                raise LatentsError(
                    f"{family.site} has units of several classes, and {name} mirrors the noise of binary ones alone: "
                    "make it Bernoulli."
                )

    def _slope(self, particles: Particles, states: Decided, name: str, i: int) -> Tensor:
        """c of the bits of the i-th discrete site, (K, B, F)."""
        num, site = self.total_particles, particles.guide_sites[name]
        noise = per_datum(site, particles.plate, states.noise[name])
        probability = states.logits(particles, name)[:num].detach().sigmoid()
        went, *branches = states.steps(particles, name).split(num)
        other = branches[i]  # as went, (K, B, F)
        unit, mirrored = (went > 0).to(noise), (other > 0).to(noise)
        seen_by_one = went.abs() * (unit - probability) / 2 - other.abs() * (mirrored - probability) / 2
        return torch.where(went * other != 0, self.slope(noise, probability, unit, mirrored), seen_by_one)


def averaged(probability: Tensor, unit: Tensor, mirrored: Tensor) -> Tensor:
    """DisARM's c, (b - b') sigmoid(|l|) / 2: the mean of ARM's given the pair.

    >>> averaged(torch.tensor(0.75), unit=torch.tensor([1.0, 0.0, 0.0]), mirrored=torch.tensor([0.0, 1.0, 0.0]))
    tensor([ 0.3750, -0.3750,  0.0000])
    """
    return (unit - mirrored) * torch.maximum(probability, 1 - probability) / 2


def difference(bound: Reduction, log_w: Tensor, mirrored: Tensor) -> Tensor:
    """(2): what each particle adds to ``bound``, less its score, beyond what its branch adds; (K, B), in nats.

    >>> from ppgen.inference import ELBO
    >>> difference(ELBO(num_particles=2), torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)).squeeze(-1)
    tensor([0.5000, 1.5000])
    """
    with_own, with_mirrored = (coefficient(bound, log_w, other) for other in (log_w, mirrored))
    own_among, mirrored_among = (coefficient(bound, mirrored, other) for other in (log_w, mirrored))
    return (with_own - with_mirrored + own_among - mirrored_among) / 2


@dataclass(frozen=True)
class Branches:
    """Draws K runs, and then the L branches of each, in the i-th of which the noise of the i-th site is mirrored.

    Args:
        states: keeps the runs' noise, each (K, ...).
        num_sites: L, of the guide's discrete sites.
        num_runs: K.

    Raises:
        UsageError: the guide has more discrete sites.
    """

    states: Decided
    num_sites: int
    num_runs: int

    def __call__(self, site: Site) -> Tensor:
        fn, num, before = site["fn"], self.num_runs, len(self.states.noise)
        after = self.num_sites - before
        if fn.has_rsample:  # as in the runs in branches that are yet to part from them
            drawn = fn.rsample()
            return torch.cat([drawn[: (before + 1) * num], *[drawn[:num]] * after])
        if not after:
            raise _other_sites(self.states.needed_by, self.num_sites)
        family = family_of(site, self.states.needed_by)
        u = self.states.uniforms(family, family.of(family.logits(fn)[:num]))
        self.states.noise[site["name"]] = u
        noise = torch.cat([*[u] * (before + 1), 1 - u, *[u] * (after - 1)])
        return self.states.state(family, fn, noise).detach()


def _other_sites(needed_by: str, num_sites: int) -> UsageError:
    return UsageError(
        f"{needed_by} has a branch for each discrete site of the guide, of which there were {num_sites} when it was "
        "first seen and are another number now: draw the same sites in every run."
    )
