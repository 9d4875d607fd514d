"""Enumeration: the exact expectation of a bound, and its exact gradient, summed over all states of discrete latents.

With S joint states z_s of a datum's latents,

    E F(log w_1, ..., log w_K) = sum_{s_1} ... sum_{s_K}  prod_k q(z_{s_k} | x)  F(log w_{s_1}, ..., log w_{s_K}),

differentiated through the log-weights and through the probabilities: there is no noise in value or gradient. For the
ELBO, a mean of log-weights, this is sum_s q(z_s | x) log w_s whatever K, at the cost of S particles; a bound that is no
mean (the importance-weighted bound of K) takes S^K terms, though still S particles. It is what other estimators' bias
is measured against, and the best estimator where S is small.

Reparameterized latents beside the discrete ones are drawn, by each of K particles: once, where the guide has them
before the discrete ones, and once in each state, where it has them after. The gradient is pathwise through them: the
semi-supervised autoencoder's sum over labels.

States that are more than memory may hold at once are run a few at a time, each twice, as the particles of other bounds
are (:mod:`ppgen.pairs.parts`): the expectation is a function of the tables log w_s and log q(z_s | x), (S, B), and its
gradient the sum over parts of what goes through their rows,

    sum_s (dE/d log w_s) (d log w_s / d theta) + (dE/d log q_s) (d log q_s / d theta),

so that value and gradient are those of all states at once, of any bound. At most 2^20 states a datum for a bound that
is a mean, and 2^16 terms for another; beyond it refuses and names the number. Where Pyro can enumerate (sites without
event dims), ``TraceEnum_ELBO`` with the guide's sites enumerated has the same value and gradient.

Titsias, Lázaro-Gredilla: Local Expectation Gradients for Black Box Variational Inference, NeurIPS 2015, section 3, has
the sums over one site at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName, Reduction
from ppgen.objectives.discrete.enumeration import Enumeration, check_number, expected_bound, most_states
from ppgen.objectives.objective import Objective, Scheduled, with_gradient_of
from ppgen.objectives.pathwise import AlongPath, Composed, PathDerivative
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.looking import largest_output
from ppgen.pairs.parameters import kept_buffers
from ppgen.pairs.structure import untouched
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.registry import register_objective

__all__ = ["Enumerate"]


@register_objective(
    "enumerate",
    summary="exact expectation and gradient, summed over all states of discrete latents",
    reference="Titsias and Lázaro-Gredilla, Local expectation gradients for black box variational inference",
    year=2015,
    link="https://arxiv.org/abs/1503.01494",
    tags=("estimator", "exact", "discrete"),
    tiny=lambda: Enumerate(),
)
@dataclass(frozen=True, kw_only=True)
class Enumerate(Composed):
    """The exact expectation of ``bound`` of ``num_particles`` (K) particles, which matters where it is no mean.

    >>> import ppgen, torch
    >>> pair, x = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,)), torch.ones(4, 3)
    >>> Enumerate().loss(pair.model, pair.guide, x) == Enumerate().loss(pair.model, pair.guide, x)  # no noise
    True
    """

    needs_discrete = True
    needs_states = True
    per_datum = True

    num_particles: Scheduled[Count] = 1
    bound: BoundName = "elbo"

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        states = self._states(program, batch)
        return self.outcome(states.in_memory(self._copies(states), self.at_a_time), self.estimate)

    def particles_at(self, program: Program, batch: Batch) -> int:
        with untouched(program):
            states = self._states(program, batch)
        return states.num_states * self._copies(states)

    def taking(self, particles: int) -> Objective:
        """With at most so many states in memory at a time."""
        return self._taking(particles)

    def _states(self, program: Program, batch: Batch) -> Enumeration:
        reduction = self.reduction
        with kept_buffers(program.model, program.guide), largest_output() as outputs:
            drawn = run_particles(program, batch, reduction.total_particles)
        return Enumeration.beside(drawn, type(self).__name__, most_states(reduction), max(outputs))

    def _copies(self, states: Enumeration) -> int:
        """How often each state is run: once for all K particles, where no other latent tells these apart."""
        return self.reduction.total_particles if states.mixed else 1

    def estimate(self, particles: Particles) -> Tensor:
        """The expectation, (B,), from every state as a particle; differentiable in log p and log q."""
        discrete = particles.scored or particles.latents
        log_w, log_q = particles.read(lambda run: (run.log_w, run.log_q_of(discrete)))  # (S, B), or (K S, B)
        if discrete != particles.latents:
            copies = self.reduction.total_particles
            log_w, log_q = (table.unflatten(0, (copies, -1)) for table in (log_w, log_q))  # (K, S, B)
        if (path := self.path) is None:
            return expected_bound(self.reduction, log_w, log_q)
        tables = log_w.detach(), log_q.detach()
        surrogate = self._surrogate(path, particles, tables, log_q)
        return with_gradient_of(expected_bound(self.reduction, *tables), surrogate)

    def _surrogate(
        self, path: PathDerivative, particles: Particles, tables: tuple[Tensor, Tensor], log_q: Tensor
    ) -> Tensor:
        """What has the gradient of the expectation with the pathwise part of ``path``, (B,)."""

        def summed(bound: Reduction) -> tuple[Tensor, Tensor]:  # the expectation's derivatives by the two tables
            def total(log_w: Tensor, log_q: Tensor) -> Tensor:
                return expected_bound(bound, log_w, log_q).sum()

            found: tuple[Tensor, Tensor] = torch.func.grad(total, argnums=(0, 1))(*tables)
            return found

        v, by_q = summed(self.reduction)
        c, _ = summed(AlongPath(num_particles=self.num_particles, bound=self.reduction, path=path))
        scored = ((by_q - v) * log_q).flatten(0, -2).sum(0)
        return path.along(particles, v.flatten(0, -2), c.flatten(0, -2)) + scored

    def _check(self, particles: Particles) -> None:
        reduction = self.reduction
        check_number(reduction, Enumeration.beside(particles, type(self).__name__, most_states(reduction)).num_states)
        super()._check(particles)
