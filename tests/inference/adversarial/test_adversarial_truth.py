"""What critics learn, where the densities are known: in one dimension, a fixed generator against normal data."""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen.data import Dataset, DataSpec
from ppgen.inference import DRAGAN, LeastSquares, Minimax, NonSaturating, Wasserstein, WassersteinGP
from ppgen.objectives.adversarial import Adversarial
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.training.learner import Learner
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer


class Generator(Pair):
    """x = loc + scale z, z ~ N(0, 1)."""

    implicit = True

    def __init__(self, loc: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor([loc]))
        self.scale = nn.Parameter(torch.tensor([scale]))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.loc), 1.0).to_event(1))  # (K, B, 1)
            pyro.sample("x", dist.Delta(self.loc + self.scale * z, event_dim=1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(torch.zeros_like(self.loc), 1.0).to_event(1))


def normal_data(num: int = 20_000) -> Dataset:
    x = torch.randn(num, 1, generator=torch.Generator().manual_seed(0))
    return Dataset(DataSpec("normal", 1, "real", num_data=num), (x,), (x[:500],), (x[:500],))


def trained_critic(objective: Adversarial, pair: Pair, turns: int) -> nn.Module:
    """The critic after so many turns; the generator's rate is too low for it to move."""
    options = TrainingOptions(steps=turns, batch_size=500, lr=1e-9)
    torch.manual_seed(0)
    trainer = Trainer(pair, normal_data(), objective, options)
    for _ in range(turns):
        trainer.take_turn()
    return trainer.learner.objective


def quantiles(loc: float = 0.0, scale: float = 1.0, num: int = 2000) -> Tensor:
    """``num`` points that stand for N(loc, scale^2), (num, 1)."""
    levels = (torch.arange(num, dtype=torch.float64) + 0.5) / num
    points: Tensor = dist.Normal(loc, scale).icdf(levels).float()
    return points[:, None]


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_trained_critic_is_the_share_of_the_data_in_the_density(smoothing: float) -> None:
    """Within 0.03: batches of 500 leave the critic's weights a noise of that order."""
    objective = NonSaturating(hidden=(16,), smoothing=smoothing, critic_rate=2e7)
    critic = trained_critic(objective, Generator(1.0, 0.6), 800)
    x = torch.linspace(-2, 2.5, 50)[:, None]
    of_data, of_draws = dist.Normal(0.0, 1.0).log_prob(x).exp(), dist.Normal(1.0, 0.6).log_prob(x).exp()
    optimal = ((1 - smoothing) * of_data / (of_data + of_draws))[:, 0]
    with torch.no_grad():
        found = critic(x).sigmoid()
    assert (found - optimal).abs().max() < 0.03
    assert optimal.max() - optimal.min() > 0.5


@pytest.mark.usefixtures("graphs_as_they_are")
def test_at_equilibrium_the_value_is_minus_log_four() -> None:
    critic = trained_critic(Minimax(hidden=(16,), critic_rate=2e7), Generator(0.0, 1.0), 300)
    with torch.no_grad():
        of_both = critic(quantiles())
    assert -Minimax().critic_loss(of_both, of_both).item() == pytest.approx(-math.log(4), abs=2e-3)


@pytest.mark.usefixtures("graphs_as_they_are")
def test_wasserstein_gp_estimates_the_shift_between_two_gaussians() -> None:
    """Within 5 percent, of which the soft penalty takes shift / (2 weight) = 2.5."""
    objective = WassersteinGP(hidden=(16,), critic_rate=1e7, critic_steps=3)
    critic = trained_critic(objective, Generator(0.5), 300)
    with torch.no_grad():
        shift = critic(quantiles()).mean() - critic(quantiles(0.5)).mean()
    assert shift.item() == pytest.approx(0.5, rel=0.05)


EVERY: list[Any] = [
    Minimax(hidden=(3,), smoothing=0.1),
    NonSaturating(hidden=(3,)),
    LeastSquares(hidden=(3,)),
    Wasserstein(hidden=(3,), clip=0.8),
    WassersteinGP(hidden=(3,), weight=0.5),
    DRAGAN(hidden=(3,), weight=0.5),
]


class Unrolled:
    """A generator's loss through ``steps`` steps of the critic, in float64, always on the same random numbers."""

    def __init__(self, objective: Adversarial, steps: int) -> None:
        torch.manual_seed(3)
        self.objective = objective.holding({"unroll": steps, "unroll_rate": 0.3})
        self.batch = (torch.randn(5, 1, dtype=torch.float64),)
        self.learner = Learner(Generator(0.7, 0.8), self.objective.parameters(nn.Module(), self.batch)).double()

    def loss(self) -> Tensor:
        torch.manual_seed(4)
        with isolated():
            return self.objective.play("generator", self.learner.program, self.batch, {}).loss

    def gradient(self) -> Tensor:
        return torch.cat(torch.autograd.grad(self.loss(), list(self.learner.pair.parameters())))

    def differences(self, step: float = 1e-6) -> Tensor:
        found = []
        for parameter in self.learner.pair.parameters():
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.add_(sign * step)
                ends.append(self.loss().detach())
                with torch.no_grad():
                    parameter.sub_(sign * step)
            found.append((ends[0] - ends[1]) / (2 * step))
        return torch.stack(found)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("objective", EVERY, ids=lambda o: type(o).__name__)
def test_the_generators_gradient_equals_finite_differences_through_the_critics_steps(
    objective: Adversarial, steps: int
) -> None:
    case = Unrolled(objective, steps)
    torch.testing.assert_close(case.gradient(), case.differences(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("objective", EVERY, ids=lambda o: type(o).__name__)
def test_unrolling_changes_the_gradient_and_leaves_the_critic_alone(objective: Adversarial) -> None:
    plain, through = Unrolled(objective, 0), Unrolled(objective, 3)
    before = [weight.clone() for weight in through.learner.objective.parameters()]
    assert not torch.allclose(plain.gradient(), through.gradient(), rtol=1e-3)
    after = list(through.learner.objective.parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_an_unrolled_critic_is_the_one_that_gradient_steps_make() -> None:
    case = Unrolled(NonSaturating(hidden=(3,)), 2)
    unrolled = case.loss().item()
    critic = case.learner.objective
    torch.manual_seed(4)
    z = torch.randn(5, 1, dtype=torch.float64)
    pair: Any = case.learner.pair
    fake = (pair.loc + pair.scale * z).detach()
    for _ in range(2):
        loss = case.objective.critic_loss(critic(case.batch[0]), critic(fake))  # type: ignore[attr-defined]
        slopes = torch.autograd.grad(loss, list(critic.parameters()))
        with torch.no_grad():
            for weight, slope in zip(critic.parameters(), slopes, strict=True):
                weight.sub_(0.3 * slope)
    by_hand = 5 * case.objective.generator_loss(critic(fake)).item()  # type: ignore[attr-defined]
    assert unrolled == pytest.approx(by_hand, rel=1e-12)
