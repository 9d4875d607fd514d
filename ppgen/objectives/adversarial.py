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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Len
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.arguments import Count, NonNegative, Share, Sizes, Words
from ppgen.errors import UsageError
from ppgen.layers.dense import Maker, made_module
from ppgen.layers.labelled_critics import LabelledCritic, holds_labels
from ppgen.layers.normalisation import Normalisation
from ppgen.objectives.critics import (
    Critic,
    CriticFunction,
    GivenCritic,
    check_called,
    dense_critic,
    gradient_penalty,
    one_output,
    picture_critic,
)
from ppgen.objectives.stabilised import Stabilised
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.rows import x_of
from ppgen.pairs.sampling import data_size, generated
from ppgen.pairs.tracing import Batch, Program

__all__ = ["Adversarial", "Classifier", "Critic", "CriticFunction", "Dual", "GivenCritic", "gradient_penalty"]


@dataclass(frozen=True, kw_only=True)
class Adversarial(Stabilised, ABC):
    """Two players: a critic that belongs to the objective, and the pair's model as generator.

    ``critic``: a module that is called as the model is, ``critic(x)`` or ``critic(x, y)``, and gives (B,) or (B, 1)
    numbers, of which each training moves a copy; or what makes one of a first batch, ``critic(*batch)``. None:
    :class:`~ppgen.objectives.critics.Critic`, whose layers have the sizes ``hidden``; ``"conv"``, for pictures:
    :class:`~ppgen.layers.pictures.ImageCritic`, whose convolutions have ``hidden`` channels. ``normalisation`` of these
    two (:mod:`ppgen.layers.normalisation`): a reference is the first batch. A critic sees data and draws apart, so that
    it is not by what is normalised together that it tells them; a penalty on slopes needs a critic that looks at each
    datum alone, and is refused with ``normalisation="batch"``.

    Of labels, for a pair that has ``num_classes``, it is :class:`~ppgen.layers.labelled_critics.LabelledCritic`, by
    ``projection`` or not. ``critic_steps`` a turn; ``critic_rate``: the critic's learning rate over the run's;
    ``betas``: Adam's, of both players; ``unroll``, ``unroll_rate``: see the module. Each player's gradient is that of
    its own loss at the other as it stands, not of the divergence that the two stand for at the optimal critic: it is
    declared biased.

    ``dropout`` and ``minibatch_features``, how many of them, are the default critic's. It is shown data and draws in
    one batch, or each by themselves with ``separate``, and where it is normalised, has minibatch features or is a
    user's own, which may mix the data of a batch. The stabilisers of
    :class:`ppgen.objectives.stabilised.Stabilised` go with any loss.

    Metrics of the critic: ``real`` and ``fake``, the means of its outputs, and ``penalty``.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`critic_loss` and
    :meth:`generator_loss`, and :meth:`penalty` where the critic is constrained by one; 3. register it.
    """

    is_bound: ClassVar[bool] = False
    unbiased_gradient: ClassVar[bool] = False
    needs_samples: ClassVar[bool] = True

    critic: Annotated[
        nn.Module | Maker | Literal["conv"] | None, Words("a module, or what makes one of a batch's tensors, or 'conv'")
    ] = None
    hidden: Sizes = (128, 128)
    normalisation: Normalisation = "none"
    critic_steps: Count = 1
    critic_rate: NonNegative = 1.0
    betas: Annotated[Sequence[Share], Len(2, 2), Words("two numbers in [0, 1)")] = (0.5, 0.9)
    unroll: Annotated[int, Ge(0)] = 0
    unroll_rate: NonNegative = 0.1
    dropout: Share = 0.0
    minibatch_features: Annotated[int, Ge(0)] = 0
    separate: bool = False
    projection: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.critic is not None and (self.dropout or self.minibatch_features):
            raise UsageError(
                f"dropout and minibatch_features of {type(self).__name__} are the default critic's, and a critic is "
                "given: put torch.nn.Dropout or ppgen.layers.minibatch_features.MinibatchFeatures into it, and "
                "separate=True."
            )
        if self.bounds_slopes and self.normalisation == "batch":
            raise UsageError(
                f"{type(self).__name__} has a penalty on the critic's slope at each datum, and with "
                "normalisation='batch' the critic sees a datum through its whole batch: choose normalisation='virtual' "
                "or 'reference', or no penalty."
            )
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

    def read(self, critic: nn.Module, outputs: Tensor, x: Tensor) -> Tensor:
        """What the losses read of what the critic gives at x, (B,); here its one number itself.

        Raises:
            UsageError: the critic gives what cannot be read so.
        """
        return one_output(critic, outputs, x)

    def default_critic(self, pair: nn.Module, *batch: Any) -> nn.Module:
        """The critic where none is given, for data like ``batch``; of a pair that knows its classes, one of labels."""
        classes = getattr(pair, "num_classes", None)
        if classes and holds_labels(batch):
            self._check_plain()
            return LabelledCritic(*batch, hidden=self.hidden, num_classes=classes, projection=self.projection)
        if self.projection:
            raise UsageError(
                f"projection of {type(self).__name__} is of labels, and {type(pair).__name__} has none: choose a pair "
                "with labels, such as 'cgan', or leave projection out."
            )
        options = {"dropout": self.dropout, "minibatch_features": self.minibatch_features}
        return dense_critic(*batch, hidden=self.hidden, normalisation=self.normalisation, **options)

    def picture_critic(self, pair: nn.Module, batch: Batch) -> nn.Module:
        """The critic by ``"conv"``, for pictures like those of ``batch``."""
        return picture_critic(pair, batch, self.hidden, self.normalisation)

    def _check_plain(self) -> None:
        if self.normalisation != "none" or self.dropout or self.minibatch_features:
            raise UsageError(
                f"normalisation, dropout and minibatch_features of {type(self).__name__} are those of a critic without "
                "labels, and the batch has some: leave them out, or give a critic that has them."
            )

    def players(self) -> tuple[Player, ...]:
        first, second = self.betas
        return (
            Player("critic", ("objective.",), self.critic_steps, (first, second), self.critic_rate),
            Player("generator", ("pair.",), betas=(first, second)),
        )

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        x_of(batch, type(self).__name__)
        return self.stabilised(self._critic(pair, batch))

    def _critic(self, pair: nn.Module, batch: Batch) -> nn.Module:
        if isinstance(self.critic, nn.Module):
            return check_called(copy.deepcopy(self.critic), batch)
        if self.critic == "conv":
            return self.picture_critic(pair, batch)
        made = made_module("critic", self.critic or partial(self.default_critic, pair), *batch)
        return check_called(made, batch) if self.critic else made

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        if player == "generator":
            return self.generator_turn(program, batch, generated(program, batch), state)
        with torch.no_grad():
            fake = generated(program, batch)
        critic = GivenCritic.of(program, batch, self.read)
        loss, metrics = self.critic_turn(critic, x_of(batch, type(self).__name__), fake)
        return self.outcome(player, program, batch, loss, metrics, state)

    def generator_turn(self, program: Program, batch: Batch, fake: Tensor, state: State) -> Outcome:
        """The generator's loss at draws, (B, ...), that it made for the batch."""
        cost = self.generator_cost(GivenCritic.of(program, batch, self.read), x_of(batch, type(self).__name__), fake)
        return self.outcome("generator", program, batch, cost, {}, state)

    def generator_cost(self, critic: GivenCritic, real: Tensor, fake: Tensor) -> Tensor:
        """L_g(f_k) of data and draws, (B, ...) each -> ()."""
        real, fake = self.noised(real), self.noised(fake)
        return self.generator_loss(self.answer(critic, real, fake)(fake))

    def outcome(
        self, player: str, program: Program, batch: Batch, loss: Tensor, metrics: Mapping[str, Tensor], state: State
    ) -> Outcome:
        """Of a player's turn: its loss, a mean, with the cost of its history, and the averages from now on."""
        of_history, following = self.remembered(player, program, state)
        for name, cost in of_history.items():
            loss, metrics = loss + self.historical_averaging * cost, {**metrics, name: cost}
        num_data = data_size(program, batch)
        return Outcome(num_data * loss, num_data, metrics, following)

    def critic_turn(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """L_c + R at data and draws, and what is reported of them."""
        return self._judged(critic, self.noised(real), self.noised(fake))

    def _judged(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        of_real, of_fake = self._told(critic, real, fake)  # (B,) each
        penalty = self.penalties(critic, real, fake)
        metrics = {"real": of_real.mean(), "fake": of_fake.mean(), "penalty": penalty}
        return self.critic_loss(of_real, of_fake) + penalty, metrics

    def _told(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Sequence[Tensor]:
        """Its outputs at data and at draws, each by itself where it may mix the data of a batch, as if normalised."""
        alone = self.critic is None and self.normalisation == "none" and not self.minibatch_features
        if self.separate or not alone:
            return critic(real), critic(fake)
        return critic(torch.cat([real, fake])).chunk(2)

    def answer(self, critic: GivenCritic, real: Tensor, fake: Tensor) -> CriticFunction:
        """f_k: the critic after ``unroll`` steps on these data and draws, as a function of the draws."""
        if not self.unroll:
            return critic
        bound = self.players()[0].bound
        weights = {name: weight.detach().requires_grad_() for name, weight in critic.module.named_parameters()}
        for _ in range(self.unroll):
            loss, _ = self._judged(replace(critic, weights=weights), real, fake)
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: _within(weight - self.unroll_rate * slope, bound)
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


def _within(weight: Tensor, bound: float | None) -> Tensor:
    return weight if bound is None else weight.clamp(-bound, bound)
