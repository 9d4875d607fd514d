"""Rules of an objective's numbers: below the evidence, scaled outside, with the gradient they claim, traceable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ppgen.errors import blame, first_sentence
from ppgen.machine.graphs import graph_of
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.testing.agreement import close, or_zeros
from ppgen.testing.checks import CheckFailed, NotApplicable, objective_check
from ppgen.testing.objective_contract import yardstick
from ppgen.testing.objective_use import refused
from ppgen.testing.sandbox import SEED, program_of
from ppgen.testing.yardsticks import BernoulliYardstick, data
from ppgen.training.learner import Learner
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

_GUIDE = slice(1, 3)
"""Where a and b, which a Bernoulli guide has, stand among the yardstick's parameters."""


@objective_check("the scale N / B of a subsampled plate stands outside the bound")
def check_scale_outside(objective: Objective) -> None:
    """On 6 of 60 data the loss is ten times that on 6 of 6 with the same seed: inside a logarithm it would not be."""
    with torch.no_grad():
        whole, part = (_play(objective, yardstick(objective, size), 6) for size in (None, 60))
    if not math.isclose(part.loss, 10 * whole.loss, rel_tol=1e-9) or part.num_data != 60 or whole.num_data != 6:
        raise CheckFailed(
            f"on 6 of 60 data it is {part.loss:.6g} for {part.num_data:g} data, expected {10 * whole.loss:.6g} for 60",
            where="the loss",
            advice="multiply the sum of the bounds by particles.scale, and give Outcome the scaled num_data",
        )


@objective_check("what is declared a bound is below the exact evidence")
def check_bound(objective: Objective) -> None:
    """The mean over draws is at most log p(x) plus four standard errors (false alarms: about 1 in 5,000)."""
    pair = yardstick(objective)
    if not objective.is_bound:
        raise NotApplicable("it does not declare is_bound")
    x = data(_COPIES)[0]
    with torch.no_grad():
        values = torch.stack([-_play(objective, pair, _COPIES, SEED + draw).loss for draw in range(_DRAWS)]) / _COPIES
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

    Paired draws leave only the estimator's own noise. With four parameters and |z| < 5 at 39 degrees of freedom the
    rate of false alarms is about 1 in 20,000; differences below 1e-6 are rounding.
    """
    pair = yardstick(objective)
    if not objective.unbiased_gradient:
        raise NotApplicable("it does not declare unbiased_gradient")
    if objective.needs_discrete:
        raise NotApplicable("its value jumps with the parameters: it is judged by enumeration in its own tests")
    seeds = range(SEED, SEED + _DRAWS)
    parameters = dict(pair.named_parameters())
    claimed = torch.stack([_gradient(objective, pair, seed) for seed in seeds])  # (draws, parameters)
    for index, (name, parameter) in enumerate(parameters.items()):
        exact = torch.stack([_difference(objective, pair, parameter, seed) for seed in seeds])  # (draws,)
        off = claimed[:, index] - exact
        error = float(off.std()) / math.sqrt(_DRAWS)
        if not abs(float(off.mean())) <= 5 * error + 1e-6:
            raise CheckFailed(
                f"its mean is {float(claimed[:, index].mean()):.5f} and the exact one {float(exact.mean()):.5f} "
                f"(standard error of the difference {error:.1g})",
                where=f"the gradient of {_role(name)}",
                advice="look for a missing term or a wrong weight, or declare unbiased_gradient = False",
            )


@objective_check("a guide without reparameterized samples is refused, or gets the right gradient")
def check_reparameterization(objective: Objective) -> None:
    """With ``needs_rsample`` the site is named in a UsageError; without it, the guide's gradient has the right share.

    The share of the mean gradient in finite differences of the value is 1 if unbiased. Flips of a discrete latent make
    these noisy (about 3 %): a share of 0.75 to 1.25 passes, and above 0.1 where the gradient is declared biased.
    """
    yardstick(objective)
    if objective.needs_energy:
        raise NotApplicable("it sums latents out, and draws none from the guide")
    if not objective.trains_guide:
        raise NotApplicable("it does not train the guide")
    if objective.needs_samples:
        raise NotApplicable("it draws from the model, and nothing from the guide")
    pair = BernoulliYardstick()
    if objective.needs_rsample:
        refused(objective, pair, "z", "call check_reparameterized before the bound is taken, as Bound does")
        return
    seeds = range(SEED, SEED + _DRAWS)
    claimed = torch.stack([_gradient(objective, pair, seed) for seed in seeds]).mean(0)[_GUIDE]  # (2,)
    exact = torch.stack(
        [
            torch.stack([_difference(objective, pair, p, seed, step=0.1) for seed in seeds]).mean()
            for p in (pair.a, pair.b)
        ]
    )  # (2,)
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
    learner = Learner(yardstick(objective), objective.parameters(yardstick(objective), data(6)))
    for player in objective.players():
        step = player_step(learner, objective.at(0), player)
        owned, others = learner.arguments(player)
        state = objective.initial_state(learner.program, data(6))
        leaves, structure = pytree.tree_flatten((owned, others, state, {}, data(6)))
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


def _play(objective: Objective, pair: Pair, size: int, seed: int = SEED) -> Any:
    torch.manual_seed(seed)
    objective = objective.at(0)
    program, batch = program_of(pair), data(size)
    return objective.play(objective.players()[0].name, program, batch, objective.initial_state(program, batch))


def _loss(objective: Objective, pair: Pair, seed: int) -> Tensor:
    """Per datum, ()."""
    size = _FEW_COPIES if objective.needs_samples else _COPIES
    loss: Tensor = _play(objective, pair, size, seed).loss / size
    return loss


def _gradient(objective: Objective, pair: Pair, seed: int) -> Tensor:
    parameters, loss = list(pair.parameters()), _loss(objective, pair, seed)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.stack([or_zeros(g, p) for p, g in zip(parameters, found, strict=True)])


def _difference(objective: Objective, pair: Pair, parameter: Tensor, seed: int, step: float = 1e-4) -> Tensor:
    """The loss's central difference in one parameter, (), with the random numbers of ``seed``."""
    losses: list[Tensor] = []
    with torch.no_grad():
        for sign in (1, -1):
            parameter.add_(sign * step)
            losses.append(_loss(objective, pair, seed))
            parameter.sub_(sign * step)
    return (losses[0] - losses[1]) / (2 * step)


def _role(name: str) -> str:
    return f"the model's {name!r}" if name == "w" else f"the guide's {name!r}"


def _flat(step: Any, structure: Any) -> Callable[..., list[Tensor]]:
    def flat(*leaves: Tensor) -> list[Tensor]:
        return pytree.tree_leaves(step(*pytree.tree_unflatten(leaves, structure)))

    return flat


def _seeded(function: Callable[..., Any], leaves: list[Tensor]) -> Any:
    torch.manual_seed(SEED)
    return function(*leaves)
