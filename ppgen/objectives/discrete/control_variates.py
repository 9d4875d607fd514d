"""Control variates by relaxation: the score function's noise, predicted from a smooth function of the same noise.

A discrete latent z of natural parameters l is z = H(zeta), zeta = g(u; l), u uniform
(:mod:`ppgen.pairs.discrete_families`). Given z, zeta has a law of its own, zeta~ = g~(v; z, l), v uniform. Whatever the
function C,

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
reparameterized latents, which keep their pathwise gradient as in :mod:`ppgen.objectives.discrete.score_function`.

**Bounds of K particles.** Let f_k(b) be a bound f(log w_1, ..., log w_K) with b in the place of log w_k, v_k(b) its
derivative by b, and A_k(b) = f_k(b) - v_k(b). The score's whole coefficient for particle k is S_k = A_k(log w_k), with
the -v_k that log w_k's own log q brings, and given the other particles a control variate may be any function of zeta_k:

    C_i,k = A_k(p_i,k + b_i,k),        p_i = eta_i log w(relaxed from layer i on)  [+ r_i],                        (3)

where b_i,k, without which a difference in level would multiply every score, is the mean of log w - p_i of the other
particles, or, for one particle, its running mean. For the ELBO A_k(b) is b / K and a constant.

**Learning.** Relaxations have temperatures t_i > 0. t_i, eta_i and the parameters of r_i belong to the objective; the
gradient is unbiased at any values. They descend sum_i |G_i|^2, where G_i is (2) for each datum and particle
(:mod:`ppgen.objectives.discrete.learned_controls`), by differentiating D. The gradient by eta_i takes b_i for what it
is, a mean of log w - p_i that follows eta_i.

Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein: REBAR, NeurIPS 2017; Grathwohl, Choi, Wu, Roeder, Duvenaud:
Backpropagation through the Void, ICLR 2018.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppgen.arguments import NonNegative, Positive
from ppgen.objectives.discrete.baselines import Baseline, LeaveOneOut, MovingAverage, stacked
from ppgen.objectives.discrete.coupled_draws import Relaxations, States
from ppgen.objectives.discrete.learned_controls import LearnedControl
from ppgen.objectives.discrete.score_function import coefficient
from ppgen.objectives.turns import State
from ppgen.pairs.latents import side_by_side
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = ["Control", "RelaxedControl"]


class Control(nn.Module):
    """What a control variate learns: ``log_temperature`` and ``eta``, (L,), one for each discrete site of the guide.

    Args:
        num_sites: L.
        temperature, eta: initial values.
    """

    def __init__(self, num_sites: int, temperature: float, eta: float) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.full((num_sites,), float(temperature)).log())
        self.eta = nn.Parameter(torch.full((num_sites,), float(eta)))

    def forward(self, relaxed: Tensor, batch: Batch, latents: Tensor) -> Tensor:
        """p of (3), (L, K, B), in nats.

        Args:
            relaxed: log w of each of the L runs, (L, K, B).
            batch: of B data.
            latents: the latents of each of the runs side by side, (L, K, B, F).
        """
        eta, level = self.eta[:, None, None], relaxed.detach().mean((1, 2), keepdim=True)
        return eta.detach() * level + eta * (relaxed - level)


@dataclass(frozen=True, kw_only=True)
class RelaxedControl(LearnedControl, ABC):
    """The gradient of ``bound`` with control variates (2); its value is the bound's, at discrete samples.

    ``temperature``, ``eta``: initial values of t and eta, or, with ``adaptive=False``, the values for good. In Pyro's
    ``SVI``, which trains the pair's parameters alone and carries no state, the control variate stays as it began, too,
    and running means begin anew at every step.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`control`; 3. register it.

    Raises:
        UsageError: a temperature is not positive; when the pair is run: a latent without a reparameterized sample is
            neither Bernoulli nor OneHotCategorical, there is none, or it stands outside the data plate.
    """

    splits_data = False  # eta learns about the mean level of the batch

    temperature: Positive = 0.5
    eta: NonNegative = 1.0

    @abstractmethod
    def control(self, particles: Particles) -> Control:
        """The control variate as it begins, for a guide with latents like these."""

    @property
    def predictor(self) -> Baseline:
        """What b of (3) is."""
        return LeaveOneOut() if self.total_particles > 1 else MovingAverage()

    def initial_state(self, program: Program, batch: Batch) -> State:
        if not self.predictor.carries:
            return {}
        with torch.no_grad():
            particles, states = self._drawn(program, batch)
            _, predicted = self._predicted(particles, states, self._own(program, particles))
            return stacked([self.predictor.initial_state(rest) for rest in particles.log_w - predicted])

    def gradients(
        self, particles: Particles, states: States, control: Control, batch: Batch, state: State
    ) -> tuple[dict[str, Tensor], State]:
        relaxed, predicted = self._predicted(particles, states, control)  # (L, K, B)
        base, following = self._baseline(particles.log_w.detach() - predicted.detach(), batch, state)
        return self._gradients(particles, relaxed, predicted + base), following

    def noise(self, gradient: Tensor) -> Tensor:
        """sum |G|^2, of each datum and particle."""
        return gradient.square().sum()

    def _predicted(self, particles: Particles, states: States, control: Control) -> tuple[Relaxations, Tensor]:
        """The relaxed values, and p of (3), (L, K, B)."""
        relaxed, num = Relaxations(particles, states, control.log_temperature.exp()), len(particles.scored)
        runs = run_particles(particles.program, particles.batch, num * len(particles.log_w), draw=relaxed)
        of_runs = (runs.log_w, side_by_side(runs))  # (L K, B), (L K, B, F)
        log_w, latents = (numbers.unflatten(0, (num, -1)) for numbers in of_runs)
        return relaxed, control(log_w, particles.batch, latents)

    def _baseline(self, rest: Tensor, batch: Batch, state: State) -> tuple[Tensor, State]:
        """b of (3), (L, K, B), and the next state, by what the p_i leave of log w, (L, K, B)."""
        states = [{name: value[i] for name, value in state.items()} for i in range(len(rest))]
        base = [self.predictor.predict(own, batch, None, its) for own, its in zip(rest, states, strict=True)]
        each = zip(rest, base, states, strict=True)
        return torch.stack(base), stacked([self.predictor.next_state(*layer) for layer in each])

    def _gradients(self, particles: Particles, relaxed: Relaxations, replaced: Tensor) -> dict[str, Tensor]:
        """G: (2) by the natural parameters of each discrete site, (K, B, F), differentiable by the control's own."""
        log_w = particles.log_w.detach()
        controls = torch.stack([coefficient(self.reduction, log_w, layer) for layer in replaced])  # (L, K, B)
        slopes = torch.autograd.grad(controls.sum(), list(relaxed.own.values()), create_graph=True)
        missed = self.reduction.reduce(log_w) - self.reduction.weights(log_w) - controls  # (L, K, B)
        return {
            name: missed[i, ..., None] * relaxed.states.score(particles, name) + relaxed.path(name, slope)
            for i, (name, slope) in enumerate(zip(particles.scored, slopes, strict=True))
        }
