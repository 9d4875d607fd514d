"""Control variates that learn: their parameters descend the variance of the gradient that they are part of.

A control variate has parameters of its own, at all of which the gradient G by the natural parameters of the discrete
sites is unbiased. As the expectation of G does not depend on them, E |G|^2 is, but for a constant, the variance of G,
and its derivative by them is had without bias from one draw (Tucker et al., REBAR, NeurIPS 2017, section 3.2; Grathwohl
et al., Backpropagation through the Void, ICLR 2018, eq. 8). They and the pair learn in the same step; neither loss has
a gradient by the other's parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.discrete.coupled_draws import Coupled, States
from ppgen.objectives.objective import with_gradient_of
from ppgen.objectives.turns import AVERAGED, Outcome, State
from ppgen.pairs.parameters import isolated
from ppgen.pairs.rows import like_data
from ppgen.pairs.tracing import Batch, Particles, Program

__all__ = ["LearnedControl"]


@dataclass(frozen=True, kw_only=True)
class LearnedControl(Coupled, ABC):
    """The gradient of ``bound`` with a control variate that learns; its value is the bound's, at discrete samples.

    ``adaptive=False``: it stays as it begins. So it does in Pyro's ``SVI``, which trains the pair's parameters alone.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`control`, :meth:`gradients` and
    :meth:`noise`; 3. register it.

    Raises:
        UsageError: when the pair is run: a latent without a reparameterized sample is neither Bernoulli nor
            OneHotCategorical, there is none, or it stands outside the data plate.
    """

    shards = AVERAGED

    num_particles: Count = 1
    bound: BoundName = "elbo"
    adaptive: bool = True

    @abstractmethod
    def control(self, particles: Particles) -> nn.Module:
        """The control variate as it begins, for a guide with latents like these."""

    @abstractmethod
    def gradients(
        self, particles: Particles, states: States, control: Any, batch: Batch, state: State
    ) -> tuple[dict[str, Tensor], State]:
        """G by the natural parameters of each discrete site, (K, B, F), differentiable by the control's parameters
        alone, and the state that the next step gets."""

    @abstractmethod
    def noise(self, gradient: Tensor) -> Tensor:
        """What is descended of one site's G, (K, B, F), a scalar."""

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        program: Any = pair
        with torch.no_grad(), torch.random.fork_rng(), isolated():
            particles = self.draw(Program(program.model, program.guide), batch)
            return self.control(particles).to(like_data(batch)).requires_grad_(self.adaptive)

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        particles, states = self._drawn(program, batch)
        with torch.enable_grad():
            control = self._own(program, particles)
            gradients, following = self.gradients(particles, states, control, batch, state)
            descent = self._descent(gradients, control) if program.own is not None else 0.0
        ascent = sum((gradient.detach() * states.logits(particles, name)).sum() for name, gradient in gradients.items())
        outcome = self.outcome(particles, self.estimate)
        surrogate = outcome.loss + particles.scale * (descent - ascent)
        return replace(outcome, loss=with_gradient_of(outcome.loss, surrogate), state=following)

    def _drawn(self, program: Program, batch: Batch) -> tuple[Particles, States]:
        states = self.drawn_by()
        return self.draw(program, batch, states), states

    def _own(self, program: Program, particles: Particles) -> Any:
        """The control variate as it is, or, in Pyro's ``SVI``, as it begins."""
        return self.control(particles).to(like_data(particles.batch)) if program.own is None else program.own

    def _descent(self, gradients: Mapping[str, Tensor], control: nn.Module) -> Tensor | float:
        """A function of the control's parameters that has the gradient of what is descended."""
        learnt = [p for p in control.parameters() if p.requires_grad]
        if not learnt:
            return 0.0
        noise = torch.stack([self.noise(gradient) for gradient in gradients.values()]).sum()
        slopes = torch.autograd.grad(noise, learnt, allow_unused=True, materialize_grads=True)
        return torch.stack([(p * slope).sum() for p, slope in zip(learnt, slopes, strict=True)]).sum()
