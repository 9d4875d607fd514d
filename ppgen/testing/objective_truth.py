"""Rules of an objective's numbers: below the evidence, scaled outside, with the gradient they claim, traceable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ppgen.errors import blame, first_sentence
from ppgen.machine.graphs import graph_of, traced
from ppgen.machine.seeds import manual_seed
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Player
from ppgen.pairs.pair import Pair
from ppgen.testing.agreement import close
from ppgen.testing.checks import CheckFailed, NotApplicable, objective_check
from ppgen.testing.objective_contract import learner_of, outcomes, yardstick
from ppgen.testing.objective_use import refused
from ppgen.testing.sandbox import SEED
from ppgen.testing.yardsticks import BernoulliYardstick, CountedYardstick, ImplicitYardstick, Yardstick
from ppgen.training.steps import player_step

__all__ = [
    "check_bound",
    "check_reparameterization",
    "check_scale_outside",
    "check_traceable",
    "check_unbiased_gradient",
]

_DRAWS = 40
"""Batches drawn to estimate a mean; each holds many copies of two data."""

_COPIES, _FEW_COPIES = 1000, 100
"""Data of a batch, where an objective reads log-weights, and where it reads the model's draws: it may compare them pair
by pair, at a cost of the square, and has no noise left when they are paired."""

_CRITIC_STEPS, _TURNS = 50, 20
"""Steps of a critic before the game begins, and turns of it, in which a generator comes nearer to its data."""

_GUIDE = slice(1, 3)
"""Where a and b, which a Bernoulli guide has, stand among the yardstick's parameters."""


@objective_check("the scale N / B of a subsampled plate stands outside the bound")
def check_scale_outside(objective: Objective) -> None:
    """On 6 of 60 data the loss is ten times that on 6 of 6 with the same seed: inside a logarithm it would not be."""
    of_whole, of_part = (outcomes(objective.at(0), yardstick(objective, size), 6) for size in (None, 60))
    for whole, part in zip(of_whole, of_part, strict=True):
        if (
            not math.isclose(part.loss.item(), 10 * whole.loss.item(), rel_tol=1e-9)
            or part.num_data != 60
            or whole.num_data != 6
        ):
            raise CheckFailed(
                f"on 6 of 60 data it is {part.loss:.6g} for {part.num_data:g} data, expected {10 * whole.loss:.6g} for "
                "60",
                where="the loss",
                advice="multiply the sum of the bounds by particles.scale, and give Outcome the scaled num_data",
            )


@objective_check("what is declared a bound is below the exact evidence")
def check_bound(objective: Objective) -> None:
    """The mean over draws is at most log p(x) plus four standard errors (false alarms: about 1 in 5,000)."""
    pair: Any = yardstick(objective)
    if not objective.is_bound:
        raise NotApplicable("it does not declare is_bound")
    x = pair.batch(_COPIES)[0]
    with torch.no_grad():
        values = torch.stack([-outcomes(objective.at(0), pair, _COPIES, SEED + draw)[0].loss for draw in range(_DRAWS)])
    values = values / _COPIES  # (draws,)
    error = float(values.std()) / math.sqrt(_DRAWS)
    evidence = float(pair.log_evidence(x).mean())
    if not float(values.mean()) <= evidence + 4 * error + 1e-9:
        raise CheckFailed(
            f"it is {float(values.mean()):.5f} nats per datum (standard error {error:.1g}), above the exact evidence "
            f"{evidence:.5f}",
            where="the bound",
            advice="look for a term left out or a wrong sign, or declare is_bound = False",
        )


@objective_check("a gradient that is declared unbiased is that of the value's expectation")
def check_unbiased_gradient(objective: Objective) -> None:
    """A z-test per parameter against finite differences of the value with the same random numbers.

    In a game it is the loss of the player who moves the pair, while the others stand still.

    Paired draws leave only the estimator's own noise. With four parameters and |z| < 5 at 39 degrees of freedom the
    rate of false alarms is about 1 in 20,000; differences below 1e-6 are rounding.
    """
    pair = yardstick(objective)
    if not objective.unbiased_gradient and len(objective.players()) == 1:
        raise NotApplicable("it does not declare unbiased_gradient")
    if objective.needs_discrete:
        raise NotApplicable("its value jumps with the parameters: it is judged by enumeration in its own tests")
    played = _Played(objective, pair)
    claimed = played.gradients()  # (draws, parameters)
    for index, (name, _) in enumerate(pair.named_parameters()):
        exact = played.differences(name)  # (draws,)
        off = claimed[:, index] - exact
        error = float(off.std()) / math.sqrt(_DRAWS)
        if not abs(float(off.mean())) <= 5 * error + 1e-6:
            raise CheckFailed(
                f"its mean is {float(claimed[:, index].mean()):.5f} and the exact one {float(exact.mean()):.5f} "
                f"(standard error of the difference {error:.1g})",
                where=f"the gradient of {_role(pair, name)}",
                advice="look for a missing term or a wrong weight, or declare unbiased_gradient = False",
            )


@objective_check("a guide without reparameterized samples is refused, or gets the right gradient")
def check_reparameterization(objective: Objective) -> None:
    """With ``needs_rsample`` the site is named in a UsageError; without it, the guide's gradient has the right share.

    With ``needs_samples`` it is the model that must have reparameterized samples: a model of counts is refused, and a
    normal generator comes nearer to normal data, by a quarter at least of the distance, which is known.

    The share of the mean gradient in finite differences of the value is 1 if unbiased. Flips of a discrete latent make
    these noisy (about 3 %): a share of 0.75 to 1.25 passes, and above 0.1 where the gradient is declared biased.
    """
    yardstick(objective)
    if objective.needs_energy:
        raise NotApplicable("it sums latents out, and draws none from the guide")
    if not objective.trains_guide:
        raise NotApplicable("it does not train the guide")
    if objective.needs_samples:
        refused(objective, CountedYardstick(), "x", "declare needs_samples, by which Objective.refuses asks for it")
        _check_approach(objective)
        return
    pair = BernoulliYardstick()
    if objective.needs_rsample:
        refused(objective, pair, "z", "build on Bound, which refuses it")
        return
    played = _Played(objective, pair)
    claimed = played.gradients().mean(0)[_GUIDE]  # (2,)
    exact = torch.stack([played.differences(name, step=0.1).mean() for name in ("a", "b")])  # (2,)
    share = float(claimed @ exact / (exact @ exact))
    least, most = (0.75, 1.25) if objective.unbiased_gradient else (0.1, math.inf)
    if not least < share < most:
        raise CheckFailed(
            f"the mean gradient is {share:.2g} times the exact one",
            where="the parameters of a Bernoulli guide",
            advice="add the score function term that the draws need, or declare needs_rsample = True",
        )


@objective_check("a step can be traced to one graph: it never looks at values")
def check_traceable(objective: Objective) -> None:
    """The traced graph gives loss and gradients of the eager step with the same random numbers, on other data too."""
    pair = yardstick(objective)
    if objective.why_eager:
        raise NotApplicable(f"its steps are not compiled, because {objective.why_eager}")
    batch = pair.batch(6)
    learner = learner_of(objective, pair, batch)
    for player in objective.players():
        step = player_step(learner, objective.at(0), player)
        owned, others = learner.arguments(player)
        state = objective.initial_state(learner.program, batch)
        leaves, structure = pytree.tree_flatten((owned, others, state, {}, batch))
        flat = _flat(step, structure)
        moved = [*leaves[:-1], leaves[-1] + 0.5]
        eager = _seeded(flat, moved)
        try:
            graph = graph_of(flat, *leaves)
        except Exception as error:
            raise CheckFailed(
                f"tracing raises {type(error).__name__}: {first_sentence(error)}",
                where=blame(error, f"player {player.name!r}"),
                advice="use no .item(), float(tensor), or `if` on a tensor: torch.where, clamp and masks instead",
            ) from error
        for found, expected in zip(_seeded(graph, moved), eager, strict=True):
            if not close(found, expected, given=leaves).all():
                raise CheckFailed(
                    "the graph gives other numbers than the step when the data change",
                    where=f"player {player.name!r}",
                    advice="compute from the batch, the state and the parameters: whatever else is read is a constant",
                )


class _Game:
    """Steps of Adam that the players of an objective take at the known pair's own data."""

    def __init__(self, objective: Objective, seed: int) -> None:
        manual_seed(seed)
        self.objective, self.pair = (
            objective.at(0),
            ImplicitYardstick(infers=objective.needs_inference, sources=objective.needs_source),
        )
        self.batch = self.pair.batch(_FEW_COPIES)
        self.learner = learner_of(objective, self.pair, self.batch)
        self.state = self.objective.initial_state(self.learner.program, self.batch)
        self.players = objective.players()
        self.owned = {player: list(self.learner.owned_by(player).values()) for player in self.players}
        self.adam = {player: torch.optim.Adam(self.owned[player], 0.05, player.betas) for player in self.players}
        critics = [player for player in self.players if not _moves_the_pair(player)]
        self.loss = sum(self.move(player) for player in critics * _CRITIC_STEPS)

    def move(self, player: Player) -> float:
        """One step; the loss before it."""
        outcome = self.objective.play(player.name, self.learner.program, self.batch, self.state)
        loss = outcome.loss / outcome.num_data
        gradients = torch.autograd.grad(loss, self.owned[player], allow_unused=True)
        for parameter, gradient in zip(self.owned[player], gradients, strict=True):
            parameter.grad = gradient
        self.adam[player].step()
        self.state = outcome.state
        return loss.item()


def _check_approach(objective: Objective) -> None:
    """With the best of a few critics: in one dimension a penalty on slopes holds some to the wrong direction."""
    game = min((_Game(objective, SEED + number) for number in range(3)), key=lambda game: game.loss)
    before = game.pair.distance()
    turn = [player for player in game.players for _ in range(player.steps)]
    for player in turn * _TURNS:
        game.move(player)
    if not game.pair.distance() < 0.75 * before:
        raise CheckFailed(
            f"after {_TURNS} turns the squared distance of its draws from the data is {game.pair.distance():.3g}, and "
            f"was {before:.3g}",
            where="the gradient of the model",
            advice="look for a wrong sign in the loss of a player",
        )


def _moves_the_pair(player: Player) -> bool:
    return "pair.".startswith(player.owns)


class _Played:
    """The loss of the player who moves the pair, per datum, and its gradient, of 40 draws and at moved parameters.

    The step is run as a graph where it can be traced: it is asked hundreds of times.
    """

    def __init__(self, objective: Objective, pair: Yardstick) -> None:
        (player,) = filter(_moves_the_pair, objective.players())
        batch = pair.batch(_FEW_COPIES if objective.needs_samples else _COPIES)
        manual_seed(SEED)
        learner = learner_of(objective, pair, batch)
        self.owned, others = learner.arguments(player)
        state = objective.initial_state(learner.program, batch)
        self.names = [name for name in self.owned if name.startswith("pair.")]
        self.rest: tuple[Any, ...] = (others, state, {}, batch)
        leaves, structure = pytree.tree_flatten((self.owned, *self.rest))
        step = player_step(learner, objective.at(0), player)

        def flat(*leaves: Tensor) -> tuple[Tensor, Tensor]:
            gradients, report, *_ = step(*pytree.tree_unflatten(leaves, structure))
            by_name = dict(zip(self.owned, gradients, strict=True))
            return report["loss"], torch.stack([by_name[name] for name in self.names])

        flat(*leaves)  # so that nothing is left to find out while tracing
        self.flat = traced(flat, *leaves)

    def gradients(self) -> Tensor:
        """The gradient in each draw, (draws, parameters)."""
        return self._at({})[1]

    def differences(self, name: str, step: float = 1e-4) -> Tensor:
        """The central difference in one parameter of each draw's loss, with the same random numbers, (draws,)."""
        return (self._at({name: step})[0] - self._at({name: -step})[0]) / (2 * step)

    def _at(self, moved: Mapping[str, float]) -> tuple[Tensor, Tensor]:
        """Loss and gradient of each draw, with parameters ``moved`` by so much."""
        owned = {name: value + moved.get(name.removeprefix("pair."), 0.0) for name, value in self.owned.items()}
        leaves = pytree.tree_leaves((owned, *self.rest))
        losses, gradients = zip(*(_seeded(self.flat, leaves, SEED + draw) for draw in range(_DRAWS)), strict=True)
        return torch.stack(losses), torch.stack(gradients)


def _role(pair: Pair, name: str) -> str:
    return f"the {'model' if name == 'w' or pair.implicit else 'guide'}'s {name!r}"


def _flat(step: Any, structure: Any) -> Callable[..., list[Tensor]]:
    def flat(*leaves: Tensor) -> list[Tensor]:
        return pytree.tree_leaves(step(*pytree.tree_unflatten(leaves, structure)))

    return flat


def _seeded(function: Callable[..., Any], leaves: list[Tensor], seed: int = SEED) -> Any:
    manual_seed(seed)
    return function(*leaves)
