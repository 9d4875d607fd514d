"""NVIL: the score-function gradient with a baseline that a network learns from x.

    d ELBO/dphi = E (log w - C(x) - c) / max(1, s) d log q(z | x)/dphi,

C a network trained by least squares on log w, c and s^2 the running mean and variance of log w - C(x) - c, taken from
the steps before this one. Neither C nor c sees z: the gradient is unbiased with ``normalise=False``. Division by s
keeps steps even in size while log w ranges over hundreds of nats; it scales the guide's gradient by a positive number,
the same for all of it, and is declared biased. K particles each have the signal (f - f_k) / max(1, s) of
:mod:`ppgen.objectives.discrete.score_function`, for the ELBO or another bound.

C and the pair are trained in one step; Adam moves each parameter by its own scale, so the network needs no rate of its
own.

**Layers.** With ``layered``, for a bound that is a mean, each discrete site z_i of the guide has a signal of its own,

    log w - C_i(x, z_<i) - c_i,        divided by max(1, s_i):

given z_<i none of what is taken off depends on z_i, so that it is unbiased as before, and what is known before z_i is
drawn, such as log p(x | z_1) - log q(z_1 | x) for i > 1, is C_i's to learn. (The paper also drops from the i-th signal
the terms of log w without z_i and later layers. Which those of the model are does not show in a run; to drop those of
the guide alone adds noise, since near the posterior the two cancel: a variance of 0.37 against 0.23 in the second layer
of the belief network of the tests.)

Mnih, Gregor: Neural Variational Inference and Learning in Belief Networks, ICML 2014, section 2.3 and algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ppgen.arguments import Count, Share, Sizes
from ppgen.layers.networks import MLP
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.discrete.baselines import Baseline, Learned, features_of, stacked
from ppgen.objectives.discrete.score_function import ScoreFunction
from ppgen.objectives.objective import Scheduled, capability, with_gradient_of
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.latents import side_by_side
from ppgen.pairs.parameters import isolated
from ppgen.pairs.rows import like_data
from ppgen.pairs.tracing import Batch, Particles, Program
from ppgen.registry import register_objective

__all__ = ["NVIL"]


@register_objective(
    "nvil",
    summary="score-function gradient with a learned input-dependent baseline and normalised signals",
    reference="Mnih and Gregor, Neural variational inference and learning in belief networks",
    year=2014,
    link="https://arxiv.org/abs/1402.0030",
    tags=("estimator", "score function", "discrete"),
    tiny=lambda: NVIL(num_particles=2, hidden=(4,), normalise=False),
)
@dataclass(frozen=True, kw_only=True)
class NVIL(ScoreFunction):
    """Neural variational inference and learning of ``bound``, with ``num_particles`` (K) particles.

    ``hidden``: sizes of the baseline's tanh layers; ``decay`` of the running mean and variance; ``normalise``: divide
    signals by their standard deviation where it exceeds 1; ``layered``: a signal and a network for each discrete site.

    Raises:
        UsageError: it is ``layered`` and the bound is no mean of log-weights.

    >>> NVIL().unbiased_gradient, NVIL(normalise=False).unbiased_gradient
    (False, True)
    """

    num_particles: Scheduled[Count] = 1
    bound: BoundName = "elbo"
    hidden: Sizes = (100,)
    decay: Share = 0.8
    normalise: bool = True
    layered: bool = False

    @capability
    def needs_mean(self) -> str:
        """A signal for each layer."""
        return "layered of NVIL" if self.layered else ""

    @property
    def predictor(self) -> Baseline:
        return Learned(hidden=self.hidden, decay=self.decay, normalise=self.normalise)

    @capability
    def unbiased_gradient(self) -> bool:
        """True unless signals are normalised."""
        return not self.normalise

    @capability
    def splits_particles(self) -> bool:
        """True unless baselines read the latents, or the pathwise part reads their values."""
        return not self.layered and super().splits_particles

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        if not self.layered:
            return super().parameters(pair, batch)
        program: Any = pair
        with torch.no_grad(), torch.random.fork_rng(), isolated():
            inputs = _seen(self.draw(Program(program.model, program.guide), batch))
        networks = [MLP(seen.shape[-1], 1, self.hidden, "tanh") for seen in inputs]
        return nn.ModuleList(networks).to(like_data(batch))

    def initial_state(self, program: Program, batch: Batch) -> State:
        if not self.layered:
            return super().initial_state(program, batch)
        now: Any = self.at(0)
        with torch.no_grad():
            log_w = (particles := now.draw(program, batch)).log_w
            return stacked([self.predictor.initial_state(log_w) for _ in particles.scored])

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        if not self.layered:
            return super().play(player, program, batch, state)
        particles, following = self.draw(program, batch), []
        log_w = particles.log_w.detach()
        surrogate = log_w.new_zeros(())
        for i, (name, seen) in enumerate(zip(particles.scored, _seen(particles), strict=True)):
            own = {key: value[i] for key, value in state.items()}
            network: Any = None if program.own is None else program.own[i]  # type: ignore[index]  # a list of networks
            predicted = own["centre"] + (log_w * 0 if network is None else network(seen).squeeze(-1))  # (K, B)
            signal = (log_w - predicted.detach()) / self.predictor.unit(own) - float(not self.centred)
            surrogate = surrogate + (log_w - predicted).square().mean(0).sum() / 2
            surrogate = surrogate - (signal * particles.log_q_of([name])).mean(0).sum()
            following.append(self.predictor.next_state(log_w, predicted.detach(), own))
        outcome = self.outcome(particles, self.estimate)
        loss = with_gradient_of(outcome.loss, outcome.loss + particles.scale * surrogate)
        return replace(outcome, loss=loss, state=stacked(following))


def _seen(particles: Particles) -> list[Tensor]:
    """What the baseline of each discrete site sees: x and the discrete latents before it, (K, B, F)."""
    x = features_of(particles.batch).expand(particles.num_particles, -1, -1)  # (K, B, D)
    sites = particles.guide_sites
    values = [{name: sites[name]["value"] for name in particles.scored[:i]} for i in range(len(particles.scored))]
    return [torch.cat([x, side_by_side(particles, before)], -1) if before else x for before in values]
