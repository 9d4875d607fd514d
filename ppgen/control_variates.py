"""Control variates by relaxation: the score function's noise, predicted from a smooth function of the same noise.

A discrete latent z of natural parameters l is z = H(zeta), zeta = g(u; l), u uniform (:mod:`ppgen.discrete`). Given z,
zeta has a law of its own, zeta~ = g~(v; z, l), v uniform. Whatever the function C,

    grad_l E[C(zeta)] = E[ grad_l C(g(u; l)) ] = E[ C(zeta~) grad_l log q(z) + grad_l C(g~(v; z, l)) ],

on the left and in the middle by u alone, on the right by z and v. So if S is the score's coefficient, this has the
expectation of S grad_l log q(z) (Tucker et al., eq. 5):

    (S - C(zeta~)) grad_l log q(z)  +  grad_l C(g(u; l))  -  grad_l C(g~(v; z, l)).                                (1)

Here v is not fresh: it is the one with g~(v; z, l) = g(u; l), which is uniform given z, as it must be. Then both values
of C are one, with one slope D = dC / d zeta, and (1) takes a single evaluation of C,

    (S - C(zeta)) grad_l log q(z)  +  D (dg/dl - dg~/dl),                                                          (2)

and less noise (Tucker et al., appendix C). C's own parameters and those of the pair get no gradient from it; the
model's gradient is that at the discrete sample.

**Layers.** For the discrete sites z_1, ..., z_L of a guide, in order, (2) is taken for each l_i given what the guide
drew before z_i, with C_i a function of zeta_i in which every earlier latent has the value it was drawn with and every
later one is relaxed in its turn, by the noise it was drawn with (Tucker et al., section 3.4; a later reparameterized
latent is drawn anew). All this noise is independent of zeta_i, which is what (1) asks. The L evaluations are one run of
L K particles. The gradient by l_i is handed on to whatever l_i is made of: parameters, and the path of earlier
reparameterized latents, which keep their pathwise gradient as in :mod:`ppgen.score_function`.

**Bounds of K particles.** Let f_k(b) be a bound f(log w_1, ..., log w_K) with b in the place of log w_k, v_k(b) its
derivative by b, and A_k(b) = f_k(b) - v_k(b). The score's whole coefficient for particle k is S_k = A_k(log w_k), with
the -v_k that log w_k's own log q brings, and given the other particles a control variate may be any function of zeta_k:

    C_i,k = eta_i A_k(log w(relaxed from layer i on)) + (1 - eta_i) A_k(b_k)  [+ r_i],                             (3)

b_k the mean of the other particles' log-weights (0 if there are none). For the ELBO A_k(b) is b / K and a constant.

**Learning.** Relaxations have temperatures t_i > 0. t_i, eta_i and the parameters of r_i belong to the objective; the
gradient is unbiased at any values. They descend sum_i |G_i|^2, where G_i is (2) for each datum and particle: as the
expectation of G_i does not depend on them, that is the variance of the gradient by the natural parameters, and its
derivative by them is unbiased (Tucker et al., section 3.2; Grathwohl et al., eq. 8). It is taken by differentiating D.

Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein: REBAR, NeurIPS 2017; Grathwohl, Choi, Wu, Roeder, Duvenaud:
Backpropagation through the Void, ICLR 2018.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ppgen.baselines import LeaveOneOut
from ppgen.discrete import family_of
from ppgen.objective import Estimator, Outcome, State, with_gradient_of
from ppgen.parameters import isolated
from ppgen.relaxations import check_temperature
from ppgen.score_function import without_own
from ppgen.sites import Site, is_latent, per_datum
from ppgen.tracing import Batch, Particles, Program, run_particles

__all__ = ["Control", "RelaxedControl", "side_by_side"]


class Control(nn.Module):
    """What a control variate learns: ``log_temperature`` and ``eta``, (L,), one for each discrete site of the guide.

    Args:
        num_sites: L.
        temperature, eta: initial values.
    """

    def __init__(self, num_sites: int, temperature: float, eta: float) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.full((num_sites,), temperature).log())
        self.eta = nn.Parameter(torch.full((num_sites,), eta))

    def forward(self, relaxed: Tensor, constant: Tensor, batch: Batch, latents: Tensor) -> Tensor:
        """C of (3), (L, K, B).

        Args:
            relaxed: A_k at the relaxed log-weights, (L, K, B).
            constant: A_k at b_k, (K, B).
            batch: of B data.
            latents: the latents of each of the L runs side by side, (L, K, B, F).
        """
        eta = self.eta[:, None, None]
        return eta * relaxed + (1 - eta) * constant


@dataclass(frozen=True, kw_only=True)
class RelaxedControl(Estimator, ABC):
    """The gradient of ``bound`` with control variates (2); its value is the bound's, at discrete samples.

    ``temperature``, ``eta``: initial values of t and eta, or, with ``adaptive=False``, the values for good. In Pyro's
    ``SVI``, which trains the pair's parameters alone, the control variate stays as it began, too.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`control`; 3. register it.

    Raises:
        UsageError: a temperature is not positive; when the pair is run: a latent without a reparameterized sample is
            neither Bernoulli nor OneHotCategorical, there is none, or it stands outside the data plate.
    """

    needs_discrete: ClassVar[bool] = True

    num_particles: int = 1
    bound: Any = "elbo"
    temperature: float = 0.5
    eta: float = 1.0
    adaptive: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self, self.temperature)

    @abstractmethod
    def control(self, particles: Particles) -> Control:
        """The control variate as it begins, for a guide with latents like these."""

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        program: Any = pair
        with torch.no_grad(), torch.random.fork_rng(), isolated():
            particles = self.draw(Program(program.model, program.guide), batch, _States(type(self).__name__))
            return self.control(particles).to(batch[0]).requires_grad_(self.adaptive)

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        states = _States(type(self).__name__)
        particles = self.draw(program, batch, states)
        control: Any = self.control(particles).to(batch[0]) if program.own is None else program.own
        with torch.enable_grad():
            gradients = self._gradients(particles, states, control)  # (K, B, F) by site
            descent = _descent(gradients, control) if program.own is not None else 0.0
        ascent = sum((gradient.detach() * states.logits(particles, name)).sum() for name, gradient in gradients.items())
        outcome = self.outcome(particles, self.estimate)
        surrogate = outcome.loss + particles.scale * (descent - ascent)
        return replace(outcome, loss=with_gradient_of(outcome.loss, surrogate))

    def estimate(self, particles: Particles) -> Tensor:
        """The bound, (B,), with its gradient but for the scores of discrete latents, which are all in (2)."""
        score = particles.log_q_of(particles.scored)
        return self.reduction.reduce(with_gradient_of(particles.log_w, particles.log_w + score))

    def _gradients(self, particles: Particles, states: _States, control: Control) -> dict[str, Tensor]:
        """G: (2) by the natural parameters of each discrete site, (K, B, F), differentiable by the control's own."""
        log_w, num = particles.log_w.detach(), len(particles.scored)
        relaxations = _Relaxations(particles, states, control.log_temperature.exp())
        runs = run_particles(particles.program, particles.batch, num * len(log_w), draw=relaxations)
        relaxed = torch.stack([self._coefficient(log_w, of_run) for of_run in runs.log_w.chunk(num)])  # (L, K, B)
        others = LeaveOneOut().predict(log_w, (), None, {}) if len(log_w) > 1 else torch.zeros_like(log_w)
        latents = side_by_side(runs).unflatten(0, (num, -1))  # (L, K, B, F)
        predicted = control(relaxed, self._coefficient(log_w, others), particles.batch, latents)  # (L, K, B)
        slopes = torch.autograd.grad(predicted.sum(), list(relaxations.own.values()), create_graph=True)
        missed = self.reduction.reduce(log_w) - self.reduction.weights(log_w) - predicted  # (L, K, B)
        return {
            name: missed[i, ..., None] * states.score(particles, name) + relaxations.path(name, slope)
            for i, (name, slope) in enumerate(zip(particles.scored, slopes, strict=True))
        }

    def _coefficient(self, log_w: Tensor, replaced: Tensor) -> Tensor:
        """A_k of (3) with ``replaced`` in the place of each log w_k, (K, B)."""
        bound, weights = without_own(self.reduction, log_w, replaced)
        return bound - weights


def _descent(gradients: Mapping[str, Tensor], control: nn.Module) -> Tensor | float:
    """A function of the control's parameters that has the gradient of sum |G|^2."""
    learnt = [p for p in control.parameters() if p.requires_grad]
    if not learnt:
        return 0.0
    noise = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum()
    slopes = torch.autograd.grad(noise, learnt, allow_unused=True, materialize_grads=True)
    return torch.stack([(p * slope.detach()).sum() for p, slope in zip(learnt, slopes, strict=True)]).sum()


def side_by_side(particles: Particles) -> Tensor:
    """All numbers of the latents of a datum, (K, B, F)."""
    sites, plate = particles.guide_sites, particles.program.plate
    return torch.cat([per_datum(sites[name], plate, sites[name]["value"]) for name in particles.latents], -1)


@dataclass(frozen=True)
class _States:
    """Draws states of the discrete latents, and keeps the noise that they are a function of."""

    needed_by: str
    noise: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, site: Site) -> Tensor | None:
        fn, name = site["fn"], site["name"]
        if fn.has_rsample:
            return None
        family = family_of(site, self.needed_by)
        self.noise[name] = family.uniforms(fn)
        return family.harden(family.relax(fn, self.noise[name], 1.0)).detach()

    def logits(self, particles: Particles, name: str) -> Tensor:
        """l, (K, B, F)."""
        site = particles.guide_sites[name]
        return per_datum(site, particles.program.plate, family_of(site, self.needed_by).logits(site["fn"]))

    def score(self, particles: Particles, name: str) -> Tensor:
        """grad_l log q(z) = z - E[z], (K, B, F)."""
        site = particles.guide_sites[name]
        score = site["value"] - family_of(site, self.needed_by).mean(site["fn"])
        return per_datum(site, particles.program.plate, score).detach()


@dataclass(frozen=True)
class _Relaxations:
    """Draws L runs in one: in run i the latents before z_i are as in ``hard``, and those from z_i on are relaxed."""

    hard: Particles
    states: _States
    temperatures: Tensor
    own: dict[str, Tensor] = field(default_factory=dict)
    """The relaxed value of each site z_i in run i."""

    def __call__(self, site: Site) -> Tensor:
        name, fn = site["name"], site["fn"]
        before, num = self._before(name), self.hard.num_particles
        drawn = self.hard.guide_sites[name]["value"].detach()
        if fn.has_rsample:
            return torch.cat([fn.rsample()[: before * num], *[drawn] * (len(self.hard.scored) - before)])
        family = family_of(site, self.states.needed_by)
        natural = family.of(family.logits(fn)[: (before + 1) * num])
        noise = torch.cat([self.states.noise[name]] * (before + 1))
        *later, self.own[name] = family.relax(natural, noise, self.temperatures[before]).split(num)
        return torch.cat([*later, self.own[name], *[drawn] * (len(self.hard.scored) - before - 1)])

    def path(self, name: str, slope: Tensor) -> Tensor:
        """D (dg/dl - dg~/dl), (K, B, F), by the slope D of each number of the site."""
        site = self.hard.guide_sites[name]
        family, z, u = family_of(site, self.states.needed_by), site["value"], self.states.noise[name]
        logits = family.logits(site["fn"]).detach().requires_grad_()
        natural, temperature = family.of(logits), self.temperatures[self._before(name)]
        v = family.noise_given(natural, z, u).detach()
        difference = family.relax(natural, u, temperature) - family.relax_given(natural, z, v, temperature)
        (path,) = torch.autograd.grad(difference, logits, slope, create_graph=True)
        return per_datum(site, self.hard.program.plate, path)

    def _before(self, name: str) -> int:
        """How many discrete sites the guide draws before this one."""
        latents = [other for other, site in self.hard.guide_sites.items() if is_latent(site)]
        return sum(other in self.hard.scored for other in latents[: latents.index(name)])
