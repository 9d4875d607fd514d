"""Adversarial training: a critic of samples in the place of a likelihood.

    critic:     min_f  L_c(f(x), f(x')) + R(f, x, x'),        x ~ p_data,  x' = G(z), z ~ p(z)
    generator:  min_G  L_g(f_k(x'))

The generator is the pair's own model: x' is a run of ``poutine.uncondition(pair.model)``, read where x is observed. The
critic f, whose raw outputs the losses read, belongs to the objective. Each player minimises its own loss with the other
held still, ``critic_steps`` steps of the critic to one of the generator. f_k is the critic, or with ``unroll`` = k > 0
what k plain gradient steps of its own loss at this batch make of it,

    f_{j+1} = f_j - unroll_rate * grad_f [L_c + R](f_j),        f_0 = f,

and the generator's gradient goes through those steps too (Metz, Poole, Pfau and Sohl-Dickstein 2017, eq. 7-9): it is
told how the critic will answer, which counters jumping from mode to mode.

A loss that is a function of densities at the optimal critic (``minimax``: 2 JS - log 4) is not that at any other; no
number here is a bound, and a falling loss of one player need not be progress.

Generative Adversarial Nets, Goodfellow et al., NeurIPS 2014.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, TypeAlias

import torch
from annotated_types import Ge, Len
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from ppgen.arguments import Count, NonNegative, Share, Sizes, Words
from ppgen.layers.networks import MLP
from ppgen.objectives.objective import Objective, Outcome, Player, State
from ppgen.pairs.rows import x_of
from ppgen.pairs.sampling import data_size, generated
from ppgen.pairs.tracing import Batch, Program

__all__ = ["Adversarial", "Classifier", "Critic", "CriticFunction", "gradient_penalty"]

CriticFunction: TypeAlias = Callable[[Tensor], Tensor]
"""A critic: samples (B, ...) to raw outputs (B,)."""


class Critic(nn.Module):
    """A dense network of leaky ReLUs (slope 0.2), (B, ...) to (B,): one unbounded number for each sample.

    Args:
        num_features: of one sample.
        hidden: sizes of the hidden layers.
    """

    def __init__(self, num_features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.network = MLP(num_features, 1, hidden, "leaky_relu")

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.network(x.reshape(len(x), -1))
        return outputs.squeeze(-1)


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective, ABC):
    """Two players: a critic that belongs to the objective, and the pair's model as generator.

    The critic reads x alone, whatever else a batch holds.

    ``hidden``: sizes of its layers; ``critic_steps`` a turn; ``critic_rate``: the
    critic's learning rate over the run's; ``betas``: Adam's, of both players; ``unroll``, ``unroll_rate``: see the
    module. Each player's gradient is that of its own loss at the other as it stands, not of the divergence that the two
    stand for at the optimal critic: it is declared biased.

    Metrics of the critic: ``real`` and ``fake``, the means of its outputs, and ``penalty``.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`critic_loss` and
    :meth:`generator_loss`, and :meth:`penalty` where the critic is constrained by one; 3. register it.
    """

    is_bound: ClassVar[bool] = False
    unbiased_gradient: ClassVar[bool] = False
    needs_samples: ClassVar[bool] = True

    hidden: Sizes = (128, 128)
    critic_steps: Count = 1
    critic_rate: NonNegative = 1.0
    betas: Annotated[Sequence[Share], Len(2, 2), Words("two numbers in [0, 1)")] = (0.5, 0.9)
    unroll: Annotated[int, Ge(0)] = 0
    unroll_rate: NonNegative = 0.1

    @abstractmethod
    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """L_c, a mean, of the critic's raw outputs at data and at draws, (B,) and (B,) -> ()."""

    @abstractmethod
    def generator_loss(self, fake: Tensor) -> Tensor:
        """L_g, a mean, of the critic's raw outputs at draws, (B,) -> ()."""

    def penalty(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        """R, what the critic's loss holds beside L_c, at data and draws, (B, ...) and (B, ...) -> (); here none."""
        return real.new_zeros(())

    def players(self) -> tuple[Player, ...]:
        first, second = self.betas
        return (
            Player("critic", ("objective.",), self.critic_steps, (first, second), self.critic_rate),
            Player("generator", ("pair.",), betas=(first, second)),
        )

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        return Critic(x_of(batch, type(self).__name__)[0].numel(), self.hidden)

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        assert program.own is not None  # two players: only the loop plays them, with the critic
        critic, real, num_data = program.own, x_of(batch, type(self).__name__), data_size(program, batch)
        if player == "generator":
            fake = generated(program, batch)  # (B, ...)
            return Outcome(num_data * self.generator_loss(self._answer(critic, real, fake)(fake)), num_data)
        with torch.no_grad():
            fake = generated(program, batch)
        loss, metrics = self._critic_turn(critic, real, fake)
        return Outcome(num_data * loss, num_data, metrics)

    def _critic_turn(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """L_c + R at data and draws, and what is reported of them."""
        of_real, of_fake = critic(torch.cat([real, fake])).chunk(2)  # (B,) each
        penalty = self.penalty(critic, real, fake)
        metrics = {"real": of_real.mean(), "fake": of_fake.mean(), "penalty": penalty}
        return self.critic_loss(of_real, of_fake) + penalty, metrics

    def _answer(self, critic: nn.Module, real: Tensor, fake: Tensor) -> CriticFunction:
        """f_k: the critic after ``unroll`` steps on these data and draws, as a function of the draws."""
        if not self.unroll:
            return critic
        weights = {name: weight.detach().requires_grad_() for name, weight in critic.named_parameters()}
        for _ in range(self.unroll):
            loss, _ = self._critic_turn(_with(critic, weights), real, fake)
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: weight - self.unroll_rate * slope
                for (name, weight), slope in zip(weights.items(), slopes, strict=True)
            }
        return _with(critic, weights)


@dataclass(frozen=True, kw_only=True)
class Classifier(Adversarial, ABC):
    """The critic is a classifier: sigmoid(f) is the probability that a sample is data, its loss the cross-entropy.

        L_c = -E_data[(1 - a) log D(x) + a log(1 - D(x))] - E_z[log(1 - D(x'))],        D = sigmoid(f)   (nats)

    a is ``smoothing``, of the label of data alone. The optimal critic is (1 - a) p_data / (p_data + p_g): with a = 0
    and p_g = p_data it is 1/2 and L_c = log 4. Smoothing the label of draws by b as well would put b p_g into the
    numerator: the critic would reinforce the generator's mistakes wherever p_data is small (Goodfellow 2016, sec. 4.2).
    """

    smoothing: Annotated[
        Share,
        Words(
            "one number of at least 0 and below 1 (only the label of data is smoothed, because smoothing that of draws "
            "by b makes the optimal critic ((1 - a) p_data + b p_g) / (p_data + p_g), which rewards draws for being "
            "where draws are)"
        ),
    ] = 0.0

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        a = self.smoothing
        return ((1 - a) * softplus(-real) + a * softplus(real)).mean() + softplus(fake).mean()


def gradient_penalty(critic: CriticFunction, x: Tensor) -> Tensor:
    """E (||grad f(x)|| - 1)^2 over samples x, (B, ...) -> (): zero where f has slope one."""
    with torch.enable_grad():
        x = x.requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)  # (B, ...)
        norm: Tensor = torch.linalg.vector_norm(slope.reshape(len(x), -1), dim=1)  # (B,)
        return (norm - 1).square().mean()


def _with(critic: nn.Module, weights: Mapping[str, Tensor]) -> CriticFunction:
    return partial(_call, critic, weights)


def _call(critic: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    outputs: Tensor = functional_call(critic, dict(weights), (x,))
    return outputs
