"""Adversarial training: a critic of samples in the place of a likelihood.

    critic:     min_f  L_c(f(x), f(x')) + R(f, x, x'),        x ~ p_data,  x' = G(z), z ~ p(z)
    generator:  min_G  L_g(f_k(x'))

The generator is the pair's own model: x' is a run of ``poutine.uncondition(pair.model)``, read where x is observed. The
critic f, whose raw outputs the losses read, belongs to the objective. Like the model it is called with the whole batch:
f(x, y) where there are labels y, and f(x', y) with the labels that x' was made for. Each player minimises its own loss
with the other held still, ``critic_steps`` steps of the critic to one of the generator. f_k is the critic, or with
``unroll`` = k > 0 what k plain gradient steps of its own loss at this batch make of it,

    f_{j+1} = f_j - unroll_rate * grad_f [L_c + R](f_j),        f_0 = f,

and the generator's gradient goes through those steps too (Metz, Poole, Pfau and Sohl-Dickstein 2017, eq. 7-9): it is
told how the critic will answer, which counters jumping from mode to mode.

A loss that is a function of densities at the optimal critic (``minimax``: 2 JS - log 4) is not that at any other; no
number here is a bound, and a falling loss of one player need not be progress.

Generative Adversarial Nets, Goodfellow et al., NeurIPS 2014.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Self, TypeAlias

import torch
from annotated_types import Ge, Len
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from ppgen.arguments import Count, NonNegative, Share, Sizes, Words
from ppgen.errors import UsageError
from ppgen.layers.dense import MLP, Maker, made_module
from ppgen.layers.labelled_critics import LabelledCritic, holds_labels
from ppgen.objectives.objective import Objective, Outcome, Player, State
from ppgen.pairs.rows import is_data, x_of
from ppgen.pairs.sampling import data_size, generated
from ppgen.pairs.tracing import Batch, Program

__all__ = ["Adversarial", "Classifier", "Critic", "CriticFunction", "Dual", "GivenCritic", "gradient_penalty"]

CriticFunction: TypeAlias = Callable[[Tensor], Tensor]
"""A critic, what else the batch holds beside x being given: samples (B, ...) to raw outputs (B,)."""


class Critic(nn.Module):
    """A dense network of leaky ReLUs (slope 0.2), a batch to (B,): one unbounded number for each sample.

    It sees all numbers of a datum side by side, x first; a label is the number that it is.

    Args:
        batch: an example: x, (B, ...), and what else it holds.
        hidden: sizes of the hidden layers.
    """

    def __init__(self, *batch: Any, hidden: Sequence[int]) -> None:
        super().__init__()
        self.network = MLP(_side_by_side(batch).shape[1], 1, hidden, "leaky_relu")

    def forward(self, *batch: Any) -> Tensor:
        outputs: Tensor = self.network(_side_by_side(batch))
        return outputs.squeeze(-1)


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective, ABC):
    """Two players: a critic that belongs to the objective, and the pair's model as generator.

    ``critic``: a module that is called as the model is, ``critic(x)`` or ``critic(x, y)``, and gives (B,) or (B, 1)
    numbers, of which each training moves a copy; or what makes one of a first batch, ``critic(*batch)``. None:
    :class:`Critic`, whose layers have the sizes ``hidden``; of labels of a pair that has ``num_classes``
    :class:`~ppgen.layers.labelled_critics.LabelledCritic`, by ``projection`` or not. ``critic_steps`` a turn;
    ``critic_rate``: the critic's learning rate over the run's; ``betas``: Adam's, of both players; ``unroll``,
    ``unroll_rate``: see the module. Each player's gradient is that of its own loss at the other as it stands, not of
    the divergence that the two stand for at the optimal critic: it is declared biased.

    Metrics of the critic: ``real`` and ``fake``, the means of its outputs, and ``penalty``.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`critic_loss` and
    :meth:`generator_loss`, and :meth:`penalty` where the critic is constrained by one; 3. register it.
    """

    is_bound: ClassVar[bool] = False
    unbiased_gradient: ClassVar[bool] = False
    needs_samples: ClassVar[bool] = True

    critic: Annotated[nn.Module | Maker | None, Words("a module, or what makes one of a batch's tensors")] = None
    hidden: Sizes = (128, 128)
    critic_steps: Count = 1
    critic_rate: NonNegative = 1.0
    betas: Annotated[Sequence[Share], Len(2, 2), Words("two numbers in [0, 1)")] = (0.5, 0.9)
    unroll: Annotated[int, Ge(0)] = 0
    unroll_rate: NonNegative = 0.1
    projection: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projection and self.critic is not None:
            raise UsageError(
                f"projection of {type(self).__name__} is the default critic's, and a critic is given: leave one out."
            )

    @abstractmethod
    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """L_c, a mean, of the critic's raw outputs at data and at draws, (B,) and (B,) -> ()."""

    @abstractmethod
    def generator_loss(self, fake: Tensor) -> Tensor:
        """L_g, a mean, of the critic's raw outputs at draws, (B,) -> ()."""

    def exchanged_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """What those minimise who make both sides, data's with their latents by the guide and draws by the model, as
        :meth:`critic_loss` takes them: the critic's loss with the labels exchanged."""
        return self.critic_loss(fake, real)

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
        x_of(batch, type(self).__name__)
        if isinstance(self.critic, nn.Module):
            return copy.deepcopy(self.critic)
        return made_module("critic", self.critic or partial(self.default_critic, pair), *batch)

    def default_critic(self, pair: nn.Module, *batch: Any) -> nn.Module:
        """The critic where none is given, for data like ``batch``; of a pair that knows its classes, one of labels."""
        classes = getattr(pair, "num_classes", None)
        if classes and holds_labels(batch):
            return LabelledCritic(*batch, hidden=self.hidden, num_classes=classes, projection=self.projection)
        if self.projection:
            raise UsageError(
                f"projection of {type(self).__name__} is of labels, and {type(pair).__name__} has none: choose a pair "
                "with labels, such as 'cgan', or leave projection out."
            )
        return Critic(*batch, hidden=self.hidden)

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        if player == "generator":
            return self.generator_turn(program, batch, generated(program, batch))
        num_data = data_size(program, batch)
        with torch.no_grad():
            fake = generated(program, batch)
        loss, metrics = self.critic_turn(GivenCritic.of(program, batch), x_of(batch, type(self).__name__), fake)
        return Outcome(num_data * loss, num_data, metrics)

    def generator_turn(self, program: Program, batch: Batch, fake: Tensor) -> Outcome:
        """The generator's loss at draws, (B, ...), that it made for the batch."""
        critic, num_data = GivenCritic.of(program, batch), data_size(program, batch)
        answer = self.answer(critic, x_of(batch, type(self).__name__), fake)
        return Outcome(num_data * self.generator_loss(answer(fake)), num_data)

    def critic_turn(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """L_c + R at data and draws, and what is reported of them."""
        of_real, of_fake = critic(torch.cat([real, fake])).chunk(2)  # (B,) each
        penalty = self.penalty(critic, real, fake)
        metrics = {"real": of_real.mean(), "fake": of_fake.mean(), "penalty": penalty}
        return self.critic_loss(of_real, of_fake) + penalty, metrics

    def answer(self, critic: GivenCritic, real: Tensor, fake: Tensor) -> CriticFunction:
        """f_k: the critic after ``unroll`` steps on these data and draws, as a function of the draws."""
        if not self.unroll:
            return critic
        weights = {name: weight.detach().requires_grad_() for name, weight in critic.module.named_parameters()}
        for _ in range(self.unroll):
            loss, _ = self.critic_turn(replace(critic, weights=weights), real, fake)
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: weight - self.unroll_rate * slope
                for (name, weight), slope in zip(weights.items(), slopes, strict=True)
            }
        return replace(critic, weights=weights)


@dataclass(frozen=True, kw_only=True)
class Classifier(Adversarial, ABC):
    """The critic is a classifier: sigmoid(f) is the probability that a sample is data, its loss the cross-entropy.

        L_c = -E_data[(1 - a) log D(x) + a log(1 - D(x))] - E_z[log(1 - D(x'))],        D = sigmoid(f)   (nats)

    a is ``smoothing``, of the label of data alone. The optimal critic is (1 - a) p_data / (p_data + p_g): with a = 0
    and p_g = p_data it is 1/2 and L_c = log 4. Smoothing the label of draws by b as well would put b p_g into the
    numerator: the critic would reinforce the generator's mistakes wherever p_data is small (Goodfellow 2016, sec. 4.2).

    The generator's loss is L_g = -E_z[log D(x')], which does not saturate, but for the original game's.
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

    def generator_loss(self, fake: Tensor) -> Tensor:
        return softplus(-fake).mean()

    def exchanged_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-fake).mean() + softplus(real).mean()


@dataclass(frozen=True, kw_only=True)
class Dual(Adversarial, ABC):
    """The critic is a witness of the Wasserstein distance W_1: its mean over data exceeds that over draws.

        L_c = E_z[f(x')] - E_data[f(x)],        L_g = -E_z[f(x')]

    The supremum of -L_c over 1-Lipschitz f is W_1(p_data, p_g). Five steps of the critic a turn.
    """

    critic_steps: Count = 5

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        return -fake.mean()


def gradient_penalty(critic: CriticFunction, x: Tensor) -> Tensor:
    """E (||grad f(x)|| - 1)^2 over samples x, (B, ...) -> (): zero where f has slope one."""
    with torch.enable_grad():
        x = x.requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)  # (B, ...)
        norm: Tensor = torch.linalg.vector_norm(slope.reshape(len(x), -1), dim=1)  # (B,)
        return (norm - 1).square().mean()


@dataclass(frozen=True)
class GivenCritic:
    """The critic as a function of x, of as many data as the batch has or twice as many, given what else it holds."""

    module: nn.Module
    batch: Batch
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, program: Program, batch: Batch) -> Self:
        """That of a program, which has one."""
        assert program.own is not None  # two players: only the loop plays them, with the critic
        return cls(program.own, batch)

    def shown(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the module is called with first, of samples as the losses and penalties see them."""
        return (x,)

    def __call__(self, x: Tensor) -> Tensor:
        rows = len(self.batch[0])
        others = [torch.cat([part] * (len(x) // rows)) if is_data(part, rows) else part for part in self.batch[1:]]
        outputs: Tensor = functional_call(self.module, dict(self.weights), (*self.shown(x), *others))
        if outputs.numel() != len(x):
            raise UsageError(
                f"a critic gives one number for each datum, and {type(self.module).__name__} makes shape "
                f"{tuple(outputs.shape)} of {len(x)} data: end it with one output."
            )
        return outputs.reshape(-1)


def _side_by_side(batch: Batch) -> Tensor:
    """The numbers of each datum, x first, (B, D), in the type of x."""
    x = batch[0]
    parts = [part.to(x.dtype).reshape(len(x), -1) for part in batch if torch.is_tensor(part) and is_data(part, len(x))]
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]
