"""Adversarial variational Bayes against Gaussians whose densities and bounds are known."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.inference import AVB, ELBO, STL
from ppgen.models import GAN, RBM, ImplicitVAE
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Program
from ppgen.testing.yardsticks import SharedYardstick
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

W, B, S = 1.2, 0.5, 0.6
SPREAD = math.sqrt(W**2 + S**2)
POSTERIOR = (W / SPREAD**2, -W * B / SPREAD**2, math.log(S / SPREAD))


class Linear(Pair):
    """z ~ N(0, 1), x | z ~ N(w z + B, S^2); q(z | x) = N(a x + c, exp(log_s)^2), of which ``implicit_guide`` pairs say
    how it is drawn alone."""

    def __init__(self, a: float, c: float, log_s: float, *, points: bool = False, fixed: bool = True) -> None:
        super().__init__()
        self.points = points
        self.w = nn.Parameter(torch.tensor([W]), requires_grad=not fixed)
        self.a, self.c, self.log_s = (nn.Parameter(torch.tensor([value])) for value in (a, c, log_s))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))  # (K, B, 1)
            pyro.sample("x", dist.Normal(self.w * z + B, S).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        loc, scale = self.a * x + self.c, self.log_s.exp()
        with self.data_plate(x):
            if not self.points:
                pyro.sample("z", dist.Normal(loc, scale).to_event(1))
                return
            e = pyro.sample("e", dist.Normal(x.new_zeros(1), 1.0).to_event(1), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(loc + scale * e, event_dim=1))

    def values(self) -> tuple[float, ...]:
        return tuple(float(parameter.detach()) for parameter in (self.a, self.c, self.log_s))


class Points(Linear):
    """The same pair, whose guide has no density."""

    implicit_guide = True
    vectorized = True


class Quadratic(nn.Module):
    """A polynomial of degree two in x and z: what the log of a ratio of Gaussians is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 1)
        nn.init.zeros_(self.layer.weight)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        u = (x - B) / SPREAD
        along, across = (u + z) / 1.4, (u - z) / 0.5
        scores: Tensor = self.layer(torch.cat([along, across, along**2 - 1.9, across**2 - 1, along * across], -1))
        return scores


class Exact(nn.Module):
    """log q(z | x) - log p(z) of a pair at its present parameters."""

    def __init__(self, pair: Linear) -> None:
        super().__init__()
        self.a, self.c, self.log_s = (parameter.detach().clone() for parameter in (pair.a, pair.c, pair.log_s))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        of_guide = dist.Normal(self.a * x + self.c, self.log_s.exp()).log_prob(z)
        ratio: Tensor = of_guide - dist.Normal(0.0, 1.0).log_prob(z)
        return ratio


def own_data(num: int = 20_000) -> Dataset:
    """Data that the model itself would make."""
    x = B + SPREAD * torch.randn(num, 1, generator=torch.Generator().manual_seed(0))
    return Dataset(DataSpec("normal", 1, "real", num_data=num), (x,), (x[:50],), (x[:50],))


def trained(pair: Pair, turns: int, lr: float, **options: Any) -> Trainer:
    torch.manual_seed(0)
    objective = AVB(critic=Quadratic(), **options)
    trainer = Trainer(pair, own_data(), objective, TrainingOptions(steps=turns, batch_size=2000, lr=lr))
    for _ in range(turns):
        trainer.take_turn()
    return trainer


@pytest.mark.usefixtures("graphs_as_they_are")
def test_the_critic_approaches_the_log_ratio_of_guide_and_prior() -> None:
    """Within 0.15 over two standard deviations of the draws, of a ratio that spans more than two."""
    pair = Points(0.5, -0.1, -0.4, points=True)
    critic = trained(pair, 120, 1e-9, critic_rate=5e7).learner.objective
    x = (B + SPREAD * torch.linspace(-1.5, 1.5, 7))[:, None].expand(7, 7)
    z = 0.5 * x - 0.1 + math.exp(-0.4) * torch.linspace(-2, 2, 7)
    exact = Exact(pair)(x, z)
    with torch.no_grad():
        found = critic(x.reshape(-1, 1), z.reshape(-1, 1)).reshape(7, 7)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.15)
    assert exact.max() - exact.min() > 2


def played(objective: Any, pair: Linear, x: Tensor, critic: Any = None) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradient of the player who moves the pair."""
    torch.manual_seed(7)
    with isolated():
        outcome = objective.play("pair", Program(pair.model, pair.guide, critic), (x,), {})
    return outcome.loss.detach(), list(torch.autograd.grad(outcome.loss, list(pair.parameters())))


def test_at_the_optimal_critic_the_loss_is_that_of_the_elbo_and_the_gradient_sticks_the_landing() -> None:
    pair, x = Linear(0.5, -0.1, -0.4, fixed=False).double(), torch.randn(6, 1, dtype=torch.float64)
    loss, gradient = played(AVB(), pair, x, Exact(pair))
    torch.testing.assert_close(loss, played(ELBO(), pair, x)[0])
    torch.testing.assert_close(gradient, played(STL(num_particles=1, bound="elbo"), pair, x)[1])
    several, of_all = played(AVB(num_particles=5), pair, x, Exact(pair))
    torch.testing.assert_close(several, played(ELBO(num_particles=5), pair, x)[0])
    torch.testing.assert_close(of_all, played(STL(num_particles=5, bound="elbo"), pair, x)[1])


class Zero(nn.Module):
    """A critic that sees no difference."""

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return 0 * z


def test_adaptive_contrast_leaves_nothing_to_learn_of_a_gaussian_guide() -> None:
    """With T = 0 the divergence is KL(q || p), but for the moments of 4,000 draws: an error of order 1 / 4,000 in their
    mean and, of the draws' own noise, five standard errors."""
    pair = Points(0.5, -0.1, -0.4, points=True).double()
    x = torch.tensor([[-1.0], [0.3], [2.0]], dtype=torch.float64)
    torch.manual_seed(0)
    program = Program(pair.model, pair.guide, Zero())
    with torch.no_grad():
        found = AVB(num_particles=4000, adaptive=True).play("pair", program, (x,), {}).metrics["divergence"]
    loc, scale = 0.5 * x - 0.1, math.exp(-0.4)
    exact = (0.5 * (loc**2 + scale**2 - 1) - math.log(scale)).mean()
    assert exact > 0.3
    assert found.item() == pytest.approx(exact.item(), abs=5 * 1.0 / math.sqrt(12_000))


def test_adaptive_contrast_shows_the_critic_normalised_draws() -> None:
    pair = Points(0.5, 40.0, 2.0, points=True)
    seen: list[Tensor] = []

    class Seeing(nn.Module):
        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            seen.append(z)
            return 0 * z

    program, x = Program(pair.model, pair.guide, Seeing()), torch.randn(5, 1)
    AVB(num_particles=50, adaptive=True).play("critic", program, (x,), {})
    inferred, other = seen[0].reshape(2, 50, 5)
    torch.testing.assert_close(inferred.mean(0), torch.zeros(5), rtol=0, atol=1e-4)
    torch.testing.assert_close(inferred.std(0), torch.ones(5), rtol=0, atol=1e-4)
    assert other.std() == pytest.approx(1, abs=5 / math.sqrt(500))


@pytest.mark.usefixtures("graphs_as_they_are")
def test_a_guide_without_a_density_finds_the_posterior() -> None:
    """Slope, intercept and log-scale within 0.05, from 0.2, 0.3 and 0.4 away."""
    pair = Points(POSTERIOR[0] - 0.2, POSTERIOR[1] + 0.3, POSTERIOR[2] + 0.4, points=True)
    trained(pair, 100, 0.02, critic_rate=5.0, critic_steps=4)
    assert pair.values() == pytest.approx(POSTERIOR, abs=0.05)


BITS = DataSpec("bits", 4, "binary")


@pytest.mark.parametrize(
    ("pair", "batch", "sentence"),
    [
        (GAN(DataSpec("plane", 2, "real"), 2, hidden=(3,)), torch.zeros(3, 2), "AVB needs a density of x, and GAN is"),
        (RBM(BITS, 2), torch.zeros(3, 4), "AVB needs a normalised model, and RBM is unnormalised"),
        (SharedYardstick(), torch.zeros(3, dtype=torch.float64), "site 'm' stands outside the data plate"),
        (ppgen.models.SBN(BITS, (2,)), torch.zeros(3, 4), "site 'z1' of the guide is drawn from Bernoulli"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_it_cannot_train_is_refused(pair: Any, batch: Tensor, sentence: str) -> None:
    why = AVB().refuses(Program(pair.model, pair.guide), (batch,))
    assert why is not None
    assert sentence in why


def test_adaptive_contrast_needs_draws() -> None:
    with pytest.raises(UsageError, match="num_particles of AVB is 1: give it tens"):
        AVB(adaptive=True)


def test_log_weights_and_bounds_of_an_implicit_guide_are_refused() -> None:
    pair, sentence = ImplicitVAE(BITS, 2, hidden=(3,)), "the guide of ImplicitVAE is implicit: it says how they are"
    with pytest.raises(UsageError, match=sentence):
        ppgen.log_weights(pair, (torch.zeros(3, 4),), 10)
    why = ELBO().refuses(Program(pair.model, pair.guide), (torch.zeros(3, 4),))
    assert why is not None
    assert sentence in why


def test_a_pair_with_an_implicit_guide_is_trained_and_judged_by_its_samples(tmp_path: Any) -> None:
    x = torch.rand(30, 4).round()
    data = Dataset(DataSpec("bits", 4, "binary", num_data=30), (x,), (x[:10],), (x[:10],))
    pair = ppgen.make_pair("implicit_vae", data.spec, latent_dim=2, noise=3, hidden=(4,))
    objective = AVB(hidden=(4,), num_particles=3, adaptive=True)
    run = ppgen.fit(pair, data, objective, steps=3, batch_size=10, eager=True, out=tmp_path)
    line = next(line for line in run.metrics if line["split"] == "train")
    assert {"pair/divergence", "pair/log_likelihood", "critic/loss"} <= line.keys()
    assert "Parzen" in run.evaluate(num_samples=20).sentence
    assert run.sample(5).x.shape == (5, 4)
