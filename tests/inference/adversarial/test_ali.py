"""Adversarially learned inference: its joints against Gaussians whose densities are known, and what its critic sees."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.inference import ALI, DRAGAN, LeastSquares, Minimax, NonSaturating, Wasserstein, WassersteinGP
from ppgen.models import GAN, BiGAN
from ppgen.objectives.adversarial import Adversarial
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Program
from ppgen.training.learner import Learner
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

W, B, S = 1.2, 0.5, 0.6
SPREAD = math.sqrt(W**2 + S**2)
POSTERIOR = (W / SPREAD**2, -W * B / SPREAD**2, math.log(S / SPREAD))


class Linear(Pair):
    """z ~ N(0, 1), x | z ~ N(W z + B, S^2), whose parameters do not move; q(z | x) = N(a x + c, exp(log_s)^2)."""

    def __init__(self, a: float, c: float, log_s: float) -> None:
        super().__init__()
        self.a, self.c, self.log_s = (nn.Parameter(torch.tensor([value])) for value in (a, c, log_s))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))  # (K, B, 1)
            pyro.sample("x", dist.Normal(W * z + B, S).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.a * x + self.c, self.log_s.exp()).to_event(1))

    def values(self) -> tuple[float, ...]:
        return tuple(float(parameter.detach()) for parameter in self.parameters())


class Quadratic(nn.Module):
    """A polynomial of degree two in x and z: what the log of a ratio of Gaussians is. Its terms have spread one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 1)
        nn.init.zeros_(self.layer.weight)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        u = (x - B) / SPREAD
        along, across = (u + z) / 1.4, (u - z) / 0.5
        scores: Tensor = self.layer(torch.cat([along, across, along**2 - 1.9, across**2 - 1, along * across], -1))
        return scores


def own_data(num: int = 20_000) -> Dataset:
    """Data that the model itself would make."""
    x = B + SPREAD * torch.randn(num, 1, generator=torch.Generator().manual_seed(0))
    return Dataset(DataSpec("normal", 1, "real", num_data=num), (x,), (x[:50],), (x[:50],))


def trained(pair: Pair, turns: int, lr: float, **options: Any) -> Trainer:
    objective = ALI(game=NonSaturating(critic=Quadratic(), **options))
    torch.manual_seed(0)
    trainer = Trainer(pair, own_data(), objective, TrainingOptions(steps=turns, batch_size=2000, lr=lr))
    for _ in range(turns):
        trainer.take_turn()
    return trainer


def log_ratio(pair: Linear, x: Tensor, z: Tensor) -> Tensor:
    """log q(x, z) - log p(x, z), p_data being the model's own."""
    a, c, log_s = pair.values()
    posterior = dist.Normal(POSTERIOR[0] * x + POSTERIOR[1], math.exp(POSTERIOR[2]))
    ratio: Tensor = dist.Normal(a * x + c, math.exp(log_s)).log_prob(z) - posterior.log_prob(z)
    return ratio


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("off", [(0.0, 0.0, 0.0), (0.1, -0.2, 0.2)], ids=["posterior", "another"])
def test_the_critic_is_the_log_ratio_of_the_joints(off: tuple[float, ...]) -> None:
    """Within 0.1 over the draws' range; at the posterior it is constant, and the value -log 4 within 0.002."""
    pair = Linear(*(value + by for value, by in zip(POSTERIOR, off, strict=True)))
    trainer = trained(pair, 100, 1e-9, critic_rate=5e7)
    level = torch.linspace(-1.5, 1.5, 9)
    x, z = B + SPREAD * level[:, None], torch.linspace(-0.8, 0.8, 9)[None]
    z = (POSTERIOR[0] * x + POSTERIOR[1] + z).expand(9, 9)
    x = x.expand(9, 9)
    with torch.no_grad():
        found = trainer.learner.objective(x.reshape(-1, 1), z.reshape(-1, 1)).reshape(9, 9)
    truth = log_ratio(pair, x, z)
    torch.testing.assert_close(found, truth, rtol=0, atol=0.1)
    if any(off):
        assert truth.abs().max() > 0.5
    else:
        assert trainer.report()["critic/loss"] == pytest.approx(math.log(4), abs=2e-3)


@pytest.mark.usefixtures("graphs_as_they_are")
def test_from_a_near_start_the_guide_finds_the_posterior() -> None:
    """Slope, intercept and log-scale within 0.03, from 0.2, 0.3 and 0.4 away."""
    pair = Linear(POSTERIOR[0] - 0.2, POSTERIOR[1] + 0.3, POSTERIOR[2] + 0.4)
    trained(pair, 80, 0.02, critic_rate=5.0, critic_steps=4)
    assert pair.values() == pytest.approx(POSTERIOR, abs=0.03)


class Numbers(Pair):
    """x = w z, z ~ N(0, I), of a picture's shape (2, 3), with labels; q(z | x) = N(a x, 1)."""

    implicit = True

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.3, dtype=torch.float64))
        self.a = nn.Parameter(torch.tensor(0.4, dtype=torch.float64))

    def model(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2, 3), 1.0).to_event(2))
            pyro.sample("x", dist.Delta(self.w * z, event_dim=2), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.a * x, 1.0).to_event(2))


class Seeing(nn.Module):
    """A critic that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 1).double()
        self.seen: list[tuple[Any, ...]] = []

    def forward(self, x: Tensor, z: Tensor, y: Tensor) -> Tensor:
        self.seen.append((x, z, y))
        scores: Tensor = self.layer(torch.cat([x.reshape(len(x), 6), z], -1))
        return scores


BATCH = (torch.randn(4, 2, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0]))


def test_the_critic_sees_data_with_inferred_latents_then_draws_with_their_own() -> None:
    pair, critic = Numbers(), Seeing()
    ALI().play("critic", Program(pair.model, pair.guide, critic), BATCH, {})
    ((x, z, y),) = critic.seen
    assert (x.shape, z.shape) == ((8, 2, 3), (8, 6))
    assert torch.equal(x[:4], BATCH[0])
    torch.testing.assert_close(x[4:].reshape(4, 6), 1.3 * z[4:])
    assert ((z[:4] - 0.4 * x[:4].reshape(4, 6)).abs() < 6).all()
    assert torch.equal(y, BATCH[1].repeat(2))


EVERY: list[Adversarial] = [
    Minimax(hidden=(3,), smoothing=0.1, unroll=1),
    NonSaturating(hidden=(3,), smoothing=0.1),
    LeastSquares(hidden=(3,), unroll=2),
    Wasserstein(hidden=(3,), clip=0.8),
    WassersteinGP(hidden=(3,), weight=0.5, unroll=1),
    DRAGAN(hidden=(3,), weight=0.5),
]


@pytest.mark.parametrize("game", EVERY, ids=lambda game: type(game).__name__)
def test_the_gradient_of_model_and_guide_is_that_of_the_exchanged_loss(game: Adversarial) -> None:
    """By finite differences at the same random numbers, in the generator's parameter and in the encoder's."""
    pair, objective = Numbers(), ALI(game=game)
    torch.manual_seed(2)
    learner = Learner(pair, objective.parameters(pair, BATCH)).double()

    def loss() -> Tensor:
        torch.manual_seed(4)
        with isolated():
            return objective.play("generator", learner.program, BATCH, {}).loss

    for parameter in (pair.w, pair.a):
        (slope,) = torch.autograd.grad(loss(), [parameter])
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * 1e-6)
            ends.append(loss().item())
            with torch.no_grad():
                parameter.sub_(sign * 1e-6)
        assert slope.item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-7)
        assert slope.item() != 0


def test_exchanged_losses_are_those_taken_by_hand() -> None:
    real, fake = torch.tensor([0.5, -1.0], dtype=torch.float64), torch.tensor([2.0, 0.0, -0.5], dtype=torch.float64)

    def log_d(f: float) -> float:
        return -math.log1p(math.exp(-f))

    both = -(log_d(-0.5) + log_d(1.0)) / 2 - (log_d(2.0) + log_d(0.0) + log_d(-0.5)) / 3
    value = (log_d(0.5) + log_d(-1.0)) / 2 + (log_d(-2.0) + log_d(0.0) + log_d(0.5)) / 3
    squares = 0.5 * (0.25 + 1.0) / 2 + 0.5 * (1 + 1 + 2.25) / 3
    by_hand: list[tuple[Adversarial, float]] = [
        (Minimax(smoothing=0.1), value),
        (NonSaturating(smoothing=0.1), both),
        (DRAGAN(), both),
        (LeastSquares(), squares),
        (WassersteinGP(), -0.25 - 0.5),
    ]
    for game, expected in by_hand:
        assert game.exchanged_loss(real, fake).item() == pytest.approx(expected, rel=1e-12)


def test_the_generators_turn_moves_model_and_guide_and_the_critics_neither() -> None:
    pair, objective = Numbers(), ALI(game=NonSaturating(hidden=(3,)))
    learner = Learner(pair, objective.parameters(pair, BATCH)).double()
    for player, told in (("critic", {"objective."}), ("generator", {"pair.", "objective."})):
        loss = objective.play(player, learner.program, BATCH, {}).loss
        found: Any = torch.autograd.grad(loss, list(learner.parameters()), allow_unused=True)
        named = zip(learner.named_parameters(), found, strict=True)
        assert {f"{name.partition('.')[0]}." for (name, _), slope in named if slope is not None} == told


class Coded(Numbers):
    """A guide that learns to draw a one-hot, which has no path."""

    def model(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            c = pyro.sample("c", dist.OneHotCategorical(logits=x.new_zeros(3)))
            pyro.sample("x", dist.Delta((self.w * c)[..., None, :].expand(*x.shape), event_dim=2), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("c", dist.OneHotCategorical(logits=self.a * x[:, 0]))


def test_what_has_nothing_to_learn_or_no_path_is_refused() -> None:
    gan = GAN(DataSpec("plane", 2, "real"), 3, hidden=(4,))
    with pytest.raises(UsageError, match="ALI trains the guide to infer latents from x, and none of the latents"):
        ALI().check(Program(gan.model, gan.guide), (torch.zeros(5, 2),))
    coded = Coded()
    with pytest.raises(UsageError, match=r"site 'c' of the guide is drawn from OneHotCategorical, .* under ALI"):
        ALI().check(Program(coded.model, coded.guide), BATCH)


def test_a_point_encoder_is_taken() -> None:
    pair = BiGAN(DataSpec("plane", 2, "real"), 3, hidden=(4,), posterior="point")
    assert ALI().refuses(Program(pair.model, pair.guide), (torch.zeros(5, 2),)) is None
