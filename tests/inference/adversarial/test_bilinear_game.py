"""min over x, max over y of x y, whose only equilibrium is 0: what steps of the two players do, and what averages do.

With steps of size h, both taken at the same point (x, y), |(x, y)| grows by sqrt(1 + h^2) a step; taken in turn, the
points stay on an ellipse. A generator that looks one step of size u ahead of the critic moves by

    x <- x - h (y + 2 u x),   y <- y + h x,        eigenvalues of modulus sqrt(1 - 2 h u + h^2) < 1 where u > h / 2

and averages of what goes round come to rest: over T turns as 1 / T (Gidel, Hemmat et al., Negative Momentum for
Improved Game Dynamics, AISTATS 2019; Metz et al. 2017, section 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen.objectives.adversarial import Adversarial
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.training.learner import Learner

H, START = 0.2, torch.tensor([1.0, 0.5], dtype=torch.float64)
X = torch.zeros(2, 1, dtype=torch.float64)


class Point(Pair):
    """x, the same for each datum; a latent that has no part in it."""

    implicit = True

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(START[:1].clone())

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.point), 1.0).to_event(1))
            pyro.sample("x", dist.Delta(self.point + 0 * z, event_dim=1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(torch.zeros_like(self.point), 1.0).to_event(1))


class Slope(nn.Module):
    """y, as the critic f(x) = x y."""

    def __init__(self) -> None:
        super().__init__()
        self.y = nn.Parameter(START[1:].clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.y * x


@dataclass(frozen=True, kw_only=True)
class Bilinear(Adversarial):
    """The critic maximises x y, and the generator minimises it."""

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake.mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        return fake.mean()


class Game:
    """Plain gradient steps of size H of both players."""

    def __init__(self, **options: Any) -> None:
        self.objective = Bilinear(critic=Slope(), **options)
        pair = Point()
        self.learner = Learner(pair, self.objective.parameters(pair, (X,)))
        self.state: Mapping[str, Tensor] = self.objective.initial_state(self.learner.program, (X,))

    def at(self) -> Tensor:
        return torch.cat([self.learner.pair.point, self.learner.objective.y]).detach()  # type: ignore[list-item]

    def _slope(self, player: str) -> tuple[Tensor, Tensor]:
        weight: Any = self.learner.pair.point if player == "generator" else self.learner.objective.y
        with isolated():
            outcome = self.objective.play(player, self.learner.program, (X,), self.state)
        self.state = outcome.state
        (slope,) = torch.autograd.grad(outcome.loss / outcome.num_data, weight)
        return weight, slope

    def together(self) -> Tensor:
        moves = [self._slope(player) for player in ("critic", "generator")]
        with torch.no_grad():
            for weight, slope in moves:
                weight.sub_(H * slope)
        return self.at()

    def in_turn(self) -> Tensor:
        for player in ("critic", "generator"):
            weight, slope = self._slope(player)
            with torch.no_grad():
                weight.sub_(H * slope)
        return self.at()


def test_simultaneous_steps_go_outwards_by_the_factor_of_theory() -> None:
    game = Game()
    for step in range(1, 41):
        radius = game.together().norm().item()
        assert radius == pytest.approx(START.norm().item() * (1 + H * H) ** (step / 2), rel=1e-12)


@pytest.mark.parametrize(("unroll_rate", "converges"), [(0.5, True), (0.05, False)])
def test_an_unrolled_generator_converges_where_it_looks_far_enough(unroll_rate: float, converges: bool) -> None:
    """u = 0.5 > h / 2 = 0.1 > 0.05: the points are those of the matrix's powers."""
    game = Game(unroll=1, unroll_rate=unroll_rate)
    step = torch.tensor([[1 - 2 * H * unroll_rate, -H], [H, 1.0]], dtype=torch.float64)
    for _ in range(80):
        found = game.together()
    torch.testing.assert_close(found, torch.linalg.matrix_power(step, 80) @ START, rtol=1e-10, atol=1e-12)
    assert (torch.linalg.eigvals(step).abs().max() < 1).item() is converges
    assert (found.norm() < 1e-2).item() is converges
    assert (found.norm() > START.norm()).item() is not converges


def test_steps_in_turn_go_round_and_their_mean_comes_to_rest_as_one_over_their_number() -> None:
    game = Game()
    points = torch.stack([game.in_turn() for _ in range(200)])
    radii = points.norm(dim=1)
    assert radii.min() > 0.8 * START.norm()
    assert radii.max() < 1.2 * START.norm()
    for num in (50, 100, 200):
        assert points[:num].mean(0).norm() < 2 * 1.2 * START.norm() / (H * num)  # a chord over the angle gone through


def test_the_moving_average_of_a_generator_that_goes_round_is_near_rest() -> None:
    """Of a circle at H radians a step, decay d leaves the share (1 - d) / |1 - d exp(i H)|, its start forgotten."""
    decay = 0.98
    game = Game(ema=decay)
    for _ in range(250):
        game.in_turn()
    share = (1 - decay) / abs(1 - decay * complex(math.cos(H), math.sin(H)))
    assert share < 0.11
    assert game.state["ema.point"].abs().item() < 1.2 * share * START.norm().item()


def test_historical_averaging_brings_simultaneous_steps_to_rest() -> None:
    """Near the mean of a long past their eigenvalues are 1 - 2 w h +- i h, of modulus below 1 where w > h / 4."""
    game = Game(historical_averaging=0.3)
    for _ in range(300):
        found = game.together()
    assert found.norm() < 0.1 * START.norm()
