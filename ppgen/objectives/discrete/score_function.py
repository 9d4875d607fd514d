"""The score-function gradient of any bound, for latents that have no reparameterized sample.

A guide may hold both kinds of latents. Write r for the reparameterized ones, r = r(noise; phi, earlier latents), and d
for the others. Given the noise, K particles have the density prod_k q(d_k | r_k, x), and a bound f of their log-weights
has the gradient

    grad E f(log w) = E [ grad f(log w) + f(log w) sum_k grad log q(d_k | r_k, x) ],                           (1)

where grad holds every d_k fixed and follows r_k: the first term is pathwise through log w, and the score
grad log q(d_k | r_k, x) follows both q's parameters and the r that it depends on. Without any d it is the pathwise
gradient, without any r REINFORCE.

Given the other particles, E[ c grad log q(d_k | r_k, x) ] = 0 for every c that does not see particle k. Let b_k predict
log w_k without seeing it (:mod:`ppgen.objectives.discrete.baselines`), and let an index k say that b_k stands in log
w_k's place. With v_k = d f / d log w_k, the score's whole coefficient, f in (1) and -v_k hidden in grad f, may be
replaced by

    f - f_k  -  (v_k - v_k,k),        f_k = f(.., b_k, ..),   v_k,k = v_k(.., b_k, ..),                         (2)

beside sum_k v_k grad (log w_k + log q(d_k | r_k, x)) or what has its expectation (:mod:`ppgen.objectives.pathwise`),
since f_k and v_k,k see the other particles alone. The *learning signal* f - f_k is what particle k adds to the bound.
Centring by v_k,k takes the noise out of the entropy's score: for the ELBO v is 1/K everywhere and cancels, so that (2)
is (log w_k - b_k) / K; for the importance-weighted bound f - f_k and v_k - v_k,k agree to first order in 1/K, so that
(2) is of order 1/K^2, as the gradient's expectation is: with the leave-one-out baseline its signal-to-noise ratio grows
as sqrt(K), which Lievin et al. show for the best such control, where without v_k,k it falls as 1/sqrt(K); while one
particle has nearly all the weight the two are alike. At the exact posterior, where all log-weights of a datum are
equal, (2) and its variance are zero with that baseline.

Mnih, Gregor: Neural Variational Inference and Learning in Belief Networks, ICML 2014; Mnih, Rezende: Variational
Inference for Monte Carlo Objectives, ICML 2016, for (2) without v_k,k; Schulman et al.: Gradient Estimation Using
Stochastic Computation Graphs, NeurIPS 2015, theorem 1, for (1); Lievin, Dittadi, Christensen, Winther: Optimal Variance
Control of the Score Function Gradient Estimator for Importance Weighted Bounds, NeurIPS 2020.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ppgen.objectives.bounds import Reduction
from ppgen.objectives.discrete.baselines import Baseline
from ppgen.objectives.objective import capability, with_gradient_of
from ppgen.objectives.pathwise import Composed
from ppgen.objectives.turns import AVERAGED, Outcome, State
from ppgen.pairs.tracing import Batch, Particles, Program

__all__ = ["Expansion", "ScoreFunction", "coefficient", "own_slope", "without_own"]


@dataclass(frozen=True, kw_only=True)
class ScoreFunction(Composed):
    """The gradient (1) of ``bound`` with the coefficient (2); its value is the bound's.

    A learned baseline is trained in the same step, by least squares on log w, and takes no part in the loss's value. In
    Pyro's ``SVI``, which trains the pair's parameters alone and carries no state, it is left out, and running means
    begin anew at every step. ``centred``: whether v_k,k is in the coefficient; without it too it is unbiased.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :attr:`predictor`; 3. register it.
    """

    needs_discrete = True
    shards = AVERAGED

    centred: bool = True

    @property
    @abstractmethod
    def predictor(self) -> Baseline:
        """The baseline."""

    @capability
    def min_particles(self) -> int:
        """That of the baseline."""
        return self.predictor.min_particles

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        return self.predictor.parameters(batch)

    def initial_state(self, program: Program, batch: Batch) -> State:
        if not self.predictor.carries:
            return {}
        now: Any = self.at(0)
        with torch.no_grad():
            particles = now.draw(program, batch)
            return self.predictor.initial_state(now._expansion(particles).rest(particles))

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        particles = self.draw(program, batch)
        expansion = self._expansion(particles)
        rest, unit = expansion.rest(particles), self.predictor.unit(state)  # (K, B)
        predicted = self.predictor.predict(rest, batch, program.own, state)  # (K, B)
        ascent = self._ascent(particles, expansion, expansion.level + predicted.detach(), unit)
        misfit = (rest - predicted).square().mean(0).sum() / 2
        outcome = self.outcome(particles, self.estimate)
        loss = with_gradient_of(outcome.loss, outcome.loss + particles.scale * (misfit - ascent))
        return replace(outcome, loss=loss, state=self.predictor.next_state(rest, predicted.detach(), state))

    def _expansion(self, particles: Particles) -> Expansion:
        """What is known of log w beside the baseline: here nothing."""
        return Expansion()

    def _ascent(self, particles: Particles, expansion: Expansion, predicted: Tensor, unit: Tensor | float) -> Tensor:
        """The sum over particles and data whose gradient is the scored part."""
        signal = self.signal(particles.log_w.detach(), predicted, unit)  # (K, B)
        return (signal * particles.log_q_of(particles.scored)).sum()

    def signal(self, log_w: Tensor, predicted: Tensor, unit: Tensor | float = 1.0) -> Tensor:
        """(2), what multiplies the score: (f - f_k) / unit - (v_k - v_k,k), (K, B), in nats.

        Args:
            log_w: (K, B).
            predicted: b, (K, B).
            unit: what the learning signal is divided by.
        """
        others, weights = without_own(self.reduction, log_w, predicted)
        learning_signal = (self.reduction.reduce(log_w) - others) / unit
        own = self.reduction.weights(log_w)
        return learning_signal - (own - weights if self.centred else own)


@dataclass(frozen=True)
class Expansion:
    """log w to first order in what was drawn: ``level``, (1, B), ``deviation`` from it and its gradient's ``means``,
    (K, B), in nats."""

    level: Tensor | float = 0.0
    deviation: Tensor | float = 0.0
    means: Tensor | float = 0.0

    def rest(self, particles: Particles) -> Tensor:
        """What it leaves of log w, (K, B), without gradient."""
        return particles.log_w.detach() - self.level - self.deviation


def coefficient(bound: Reduction, log_w: Tensor, own: Tensor) -> Tensor:
    """f_k - v_k,k: the bound less each particle's weight in it, at ``own`` in the place of its log-weight; (K, B)."""
    value, weights = without_own(bound, log_w, own)
    return value - weights


def without_own(bound: Reduction, log_w: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """f_k and v_k,k of (2): the bound, and each particle's weight in it, with its log-weight replaced; (K, B) each.

    >>> from ppgen.inference import ELBO
    >>> log_w = torch.tensor([[1.0], [3.0]])
    >>> without_own(ELBO(num_particles=2), log_w, predicted=torch.zeros(2, 1))[0].squeeze(-1)
    tensor([1.5000, 0.5000])
    """
    num, size = log_w.shape
    if bound.is_mean:
        return bound.reduce(log_w) + (predicted - log_w) / num, bound.weights(log_w)
    replaced = _replaced(log_w, predicted)
    weights = bound.weights(replaced).reshape(num, num, size).diagonal().T  # (K, B)
    return bound.reduce(replaced).reshape(num, size), weights


def own_slope(bound: Reduction, log_w: Tensor, predicted: Tensor) -> Tensor:
    """By how much f_k - v_k,k changes with b_k, (K, B): it does not see particle k. For the ELBO 1/K.

    >>> from ppgen.inference import ELBO, IWELBO
    >>> log_w = torch.tensor([[1.0], [3.0]])
    >>> own_slope(ELBO(num_particles=2), log_w, log_w).squeeze(-1)
    tensor([0.5000, 0.5000])
    >>> own_slope(IWELBO(num_particles=2), log_w, log_w).squeeze(-1)  # the squares of the normalised weights
    tensor([0.0142, 0.7758])
    """
    num, size = log_w.shape
    if bound.is_mean:
        return bound.weights(log_w)
    return bound.path_weights(_replaced(log_w, predicted)).reshape(num, num, size).diagonal().T


def _replaced(log_w: Tensor, predicted: Tensor) -> Tensor:
    """The log-weights with that of one particle after another replaced, (K, K B): K copies of B data."""
    num, size = log_w.shape
    itself = torch.eye(num, dtype=torch.bool, device=log_w.device)[..., None]
    return torch.where(itself, predicted, log_w[:, None]).reshape(num, num * size)
