"""Cycle consistency: value and gradient by hand on linear maps, its optimum between Gaussians, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.inference import BEGAN, Cycle, InfoGAN, LeastSquares, NonSaturating, WassersteinGP
from ppgen.models import GAN, CycleGAN, LinearGaussian
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Program
from ppgen.training.learner import Learner
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

Array = NDArray[np.float64]
RANDOM = np.random.RandomState(0)
X, S = RANDOM.standard_normal((7, 2)) * [1.5, 0.5] + [1.0, 0.0], RANDOM.standard_normal((7, 2))
BATCH = (torch.from_numpy(X), torch.from_numpy(S))


class Lines(Pair):
    """x = A s + b; the guide s = C x + d. Sites as of CycleGAN."""

    implicit = True
    implicit_guide = True

    def __init__(self, A: Any, b: Any, C: Any, d: Any, data_size: int | None = None) -> None:
        super().__init__(data_size)
        self.A, self.b, self.C, self.d = (nn.Parameter(torch.as_tensor(value)) for value in (A, b, C, d))

    def model(self, x: Tensor, s: Tensor) -> None:
        with self.data_plate(x):
            source = pyro.sample("s", dist.Delta(s, event_dim=1))
            pyro.sample("x", dist.Delta(source @ self.A.T + self.b, event_dim=1), obs=x)

    def guide(self, x: Tensor, s: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("s", dist.Delta(x @ self.C.T + self.d, event_dim=1))


def lines(data_size: int | None = None) -> Lines:
    random = np.random.RandomState(1)
    A, b, C, d = (random.standard_normal(shape) for shape in ((2, 2), 2, (2, 2), 2))
    return Lines(A, b, C, d, data_size)


def linear_critic(weight: tuple[float, float], bias: float) -> nn.Module:
    critic = nn.Linear(2, 1).double()
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([weight], dtype=torch.float64))
        critic.bias.fill_(bias)
    return critic


def played(objective: Objective, player: str, pair: Pair, batch: Any = BATCH) -> tuple[Outcome, Learner]:
    torch.manual_seed(0)
    learner = Learner(pair, objective.parameters(pair, batch).double())
    with isolated():
        return objective.play(player, learner.program, batch, objective.initial_state(learner.program, batch)), learner


def arrays(pair: Lines) -> list[Array]:
    return [parameter.detach().numpy() for parameter in (pair.A, pair.b, pair.C, pair.d)]


def residuals(pair: Lines) -> dict[str, Array]:
    A, b, C, d = arrays(pair)
    made, told = S @ A.T + b, X @ C.T + d
    return {
        "cycle": told @ A.T + b - X,
        "cycle_latents": made @ C.T + d - S,
        "x": X @ A.T + b - X,
        "s": S @ C.T + d - S,
    }


def test_both_players_losses_are_those_computed_by_hand() -> None:
    """f(v) = w v + c for both, least squares: E[(f - 1)^2] / 2 of what passes for real, E[f^2] / 2 of the rest."""
    w, c, pair = (0.3, -0.7), 0.2, lines(70)
    objective = Cycle(game=LeastSquares(critic=linear_critic(w, c)), weight=3.0, identity=0.5)
    A, b, C, d = arrays(pair)

    def f(v: Array) -> Array:
        scores: Array = v @ np.array(w) + c
        return scores

    made, told, off = S @ A.T + b, X @ C.T + d, residuals(pair)
    sides = ((X, made), (S, told))
    of_critics = sum(((f(real) - 1) ** 2).mean() + (f(fake) ** 2).mean() for real, fake in sides) / 2
    cycles = np.abs(off["cycle"]).mean() + np.abs(off["cycle_latents"]).mean()
    kept = np.abs(off["x"]).mean() + np.abs(off["s"]).mean()
    of_game = (((f(made) - 1) ** 2).mean() + ((f(told) - 1) ** 2).mean()) / 2
    of_pair = of_game + 3 * cycles + 0.5 * kept
    for player, value in (("critic", of_critics), ("generator", of_pair)):
        outcome, _ = played(objective, player, pair)
        assert outcome.num_data == 70
        assert outcome.loss.item() == pytest.approx(70 * value, rel=1e-12)
    assert outcome.metrics["cycle"].item() == pytest.approx(np.abs(off["cycle"]).mean(), rel=1e-12)
    assert outcome.metrics["identity"].item() == pytest.approx(kept, rel=1e-12)


def test_the_gradient_of_the_cycles_is_that_computed_by_hand() -> None:
    """Where the critics are constant: sums of signs times what stands before each parameter."""
    pair = lines()
    objective = Cycle(game=LeastSquares(critic=linear_critic((0.0, 0.0), 0.0)), weight=2.0)
    outcome, _ = played(objective, "generator", pair)
    found = torch.autograd.grad(outcome.loss / outcome.num_data, list(pair.parameters()))
    A, b, C, d = arrays(pair)
    made, told, off = S @ A.T + b, X @ C.T + d, residuals(pair)
    of_x, of_s = (2 * np.sign(off[name]) / off[name].size for name in ("cycle", "cycle_latents"))
    expected = {
        "A": of_x.T @ told + (of_s @ C).T @ S,
        "b": of_x.sum(0) + (of_s @ C).sum(0),
        "C": of_s.T @ made + (of_x @ A).T @ X,
        "d": of_s.sum(0) + (of_x @ A).sum(0),
    }
    for gradient, (name, _) in zip(found, pair.named_parameters(), strict=True):
        np.testing.assert_allclose(gradient.numpy(), expected[name], rtol=1e-10, atol=1e-12)


def test_inverse_maps_have_no_cycle_loss() -> None:
    A, b = np.array([[2.0, 1.0], [0.0, -1.0]]), np.array([0.5, 3.0])
    inverse = np.linalg.inv(A)
    outcome, _ = played(Cycle(game=LeastSquares(hidden=(4,))), "generator", Lines(A, b, inverse, -inverse @ b))
    assert outcome.metrics["cycle"].item() == pytest.approx(0, abs=1e-12)
    assert outcome.metrics["cycle_latents"].item() == pytest.approx(0, abs=1e-12)


def test_which_source_stands_beside_which_target_does_not_matter() -> None:
    pair, objective = lines(), Cycle(game=NonSaturating(hidden=(4,)))
    other = (BATCH[0], BATCH[1][torch.tensor([3, 1, 0, 6, 5, 4, 2])])
    for player in ("critic", "generator"):
        first, second = (played(objective, player, pair, batch)[0].loss for batch in (BATCH, other))
        torch.testing.assert_close(first, second, rtol=1e-12, atol=0)


class Quadratic(nn.Module):
    """A polynomial of degree two: what the log of a ratio of normal densities is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        nn.init.zeros_(self.layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(torch.cat([x, x**2], -1))
        return scores


def trained(pair: Pair, turns: int, lr: float, weight: float = 1.0, **options: Any) -> Trainer:
    """On x ~ N(1, 1/4) and s ~ N(0, 1), 20,000 of each."""
    draws = torch.randn(2, 20_000, 1, generator=torch.Generator().manual_seed(0))
    x, s = 1 + 0.5 * draws[0], draws[1]
    spec = DataSpec("normal", 1, "real", num_data=len(x), source=DataSpec("standard", 1, "real"), paired="none")
    data = Dataset(spec, (x, s), (x[:50], s[:50]), (x[:50], s[:50]))
    torch.manual_seed(0)
    objective = Cycle(game=NonSaturating(critic=Quadratic(), **options), weight=weight)
    trainer = Trainer(pair, data, objective, TrainingOptions(steps=turns, batch_size=2000, lr=lr, schedule="constant"))
    for _ in range(turns):
        trainer.take_turn()
    return trainer


@pytest.mark.usefixtures("graphs_as_they_are")
def test_between_normal_sets_the_only_increasing_maps_are_found() -> None:
    """A = 1/2, b = 1 and their inverse, C = 2 and d = -2, each within 0.05, from 0.3 to 1 away."""
    pair = Lines([[0.8]], [0.5], [[1.4]], [-1.0])
    trained(pair, 200, 0.02, weight=0.1, critic_rate=5.0, critic_steps=4)
    found = torch.cat([parameter.detach().reshape(-1) for parameter in (pair.A, pair.b, pair.C, pair.d)])
    torch.testing.assert_close(found, torch.tensor([0.5, 1.0, 2.0, -2.0]), rtol=0, atol=0.05)


@pytest.mark.usefixtures("graphs_as_they_are")
def test_at_the_optimum_neither_critic_can_tell() -> None:
    trainer = trained(Lines([[0.5]], [1.0], [[2.0]], [-2.0]), 200, 1e-9, critic_rate=5e7)
    assert trainer.report()["critic/loss"] == pytest.approx(2 * math.log(4), abs=4e-3)


@pytest.mark.parametrize(
    "game",
    [
        NonSaturating(hidden=(4,), unroll=1, noise=0.1, smoothing=0.1),
        WassersteinGP(hidden=(4,), historical_averaging=0.1, ema=0.5),
        LeastSquares(hidden=(4,), spectral_norm=True, r1=0.1, minibatch_features=2),
    ],
    ids=["nonsaturating", "wasserstein_gp", "least_squares"],
)
def test_stabilisers_of_the_game_are_those_of_both_critics(game: Any) -> None:
    pair, objective = lines(), Cycle(game=game)
    outcome, learner = played(objective, "critic", pair)
    gradients = torch.autograd.grad(outcome.loss, list(learner.objective.parameters()))
    sides = {"of_x": False, "of_latents": False}
    for (name, _), gradient in zip(learner.objective.named_parameters(), gradients, strict=True):
        sides[name.partition(".")[0]] |= bool(gradient.any())
    assert all(sides.values())
    assert {"real", "fake", "penalty", "real_latents", "fake_latents", "penalty_latents"} <= outcome.metrics.keys()
    averaged = {name.partition(".")[0] for name in outcome.state}
    assert averaged == ({"history", "turns", "ema"} if isinstance(game, WassersteinGP) else set())
    moved, _ = played(objective, "generator", pair)
    assert all(slope.any() for slope in torch.autograd.grad(moved.loss, list(pair.parameters())))


def test_latents_of_other_sizes_have_a_critic_of_their_own() -> None:
    pair, x = LinearGaussian(DataSpec("numbers", 3, "real"), 2), torch.randn(5, 3)
    critics: Any = Cycle(game=NonSaturating(hidden=(4,))).parameters(pair, (x,))
    assert critics["of_x"](x).shape == critics["of_latents"](torch.zeros(5, 2)).shape == (5,)


def test_a_game_may_be_written_with_its_options() -> None:
    found = Cycle(game="wasserstein_gp(hidden=[3], critic_steps=2)").rules
    assert isinstance(found, WassersteinGP)
    assert (list(found.hidden), found.critic_steps) == ([3], 2)
    with pytest.raises(UsageError, match="game of Cycle must be a game"):
        Cycle(game="elbo(num_particles=2)")
    with pytest.raises(UsageError, match="game of Cycle: expected a registered objective, got 'minimax, hinge"):
        Cycle(game="minimax, hinge(hidden=[3])")


def refusal(objective: Objective, pair: Pair, *batch: Tensor) -> str:
    return objective.refuses(Program(pair.model, pair.guide), batch) or ""


def test_what_it_cannot_train_is_refused_in_a_sentence() -> None:
    plane, x = DataSpec("plane", 3, "real"), torch.randn(5, 3)
    assert "none of the latents of GAN's guide depends on a parameter" in refusal(Cycle(), GAN(plane, 2), x)
    wide = LinearGaussian(plane, 2)
    given = Cycle(game=LeastSquares(critic=nn.Linear(3, 1)))
    assert "for the latents of LinearGaussian, 2 numbers: leave critic out" in refusal(given, wide, x)
    assert "LinearGaussian has latents z of 2 numbers where x has 3: leave" in refusal(Cycle(identity=1.0), wide, x)
    with pytest.raises(UsageError, match="played by two critics, and BEGAN keeps a state for one"):
        Cycle(game=BEGAN())
    with pytest.raises(UsageError, match="weight of Cycle must be"):
        Cycle(weight=-1.0)


def test_a_guide_of_points_has_no_density_to_be_asked_for() -> None:
    spec = DataSpec("plane", 2, "real", source=DataSpec("other", 2, "real"), paired="none")
    why = refusal(InfoGAN(), CycleGAN(spec, hidden=(4,)), torch.randn(5, 2), torch.randn(5, 2))
    assert why.startswith("InfoGAN reads log q(z | x), and site 's' of the guide is a point")
