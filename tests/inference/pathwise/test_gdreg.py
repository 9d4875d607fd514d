"""The generalised gradient has less noise for a prior's parameters, and is DReG's where no prior has a path."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ppgen.inference import IWELBO, DReG, GDReG
from ppgen.objectives.bounds import Bound
from tests.doubles import Chain, data
from tests.inference.truth import gradient_draws

PRIOR, GUIDE = ("top", "log_spread"), ("slope1", "shift1", "log_scale1", "slope2", "shift2", "log_scale2")


class Skewed(Chain):
    """The chain whose z1 has a prior without a known path, or with one that is scaled."""

    scaled = False

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(()), 1.0))
            prior = dist.StudentT(x.new_tensor(5.0), self.top * z2, self.log_spread.exp())
            if self.scaled:
                prior = dist.Normal(self.top * z2, self.log_spread.exp())
            with poutine.scale(scale=0.5 if self.scaled else 1.0):
                z1 = pyro.sample("z1", prior)
            pyro.sample("x", dist.Normal((self.bottom * z1).unsqueeze(-1), 1.0).to_event(1), obs=x)


class Sharp(Chain):
    """The chain whose z1 has a Laplace prior, within an event of one number."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(()), 1.0))
            z1 = pyro.sample("z1", dist.Laplace(self.top * z2, self.log_spread.exp()))
            pyro.sample("x", dist.Normal((self.bottom * z1).unsqueeze(-1), 1.0).to_event(1), obs=x)


def noise(objective: Bound, names: tuple[str, ...]) -> float:
    """The variance of the gradient, summed over parameters."""
    draws = gradient_draws(objective, Chain(20_000))
    return sum(float(draws[name].var()) for name in names)


def test_its_noise_is_below_that_of_the_score_for_the_prior_and_of_the_path_for_the_guide() -> None:
    found, once, twice = GDReG(num_particles=2), IWELBO(num_particles=2), DReG(num_particles=2)
    assert 1.5 * noise(found, PRIOR) < noise(twice, PRIOR)
    assert 1.5 * noise(found, PRIOR) < noise(once, PRIOR)
    assert 2 * noise(found, GUIDE) < noise(once, GUIDE)


def gradient(objective: Bound, pair: Chain) -> list[Tensor]:
    torch.manual_seed(0)
    loss = objective.differentiable_loss(pair.model, pair.guide, data(5))
    return list(torch.autograd.grad(loss, list(pair.parameters())))


def test_a_prior_without_a_path_keeps_its_score() -> None:
    plain, scaled = Skewed(), Skewed()
    scaled.scaled = True
    for pair in (plain, scaled):
        torch.testing.assert_close(gradient(GDReG(num_particles=3), pair), gradient(DReG(num_particles=3), pair))
    path, score = gradient(GDReG(num_particles=3), Chain()), gradient(DReG(num_particles=3), Chain())
    assert not torch.allclose(path[0], score[0])  # top
    torch.testing.assert_close(path[2:], score[2:])  # the likelihood and the guide


def test_the_path_of_another_location_and_scale_has_the_scores_expectation() -> None:
    for name, of_path in gradient_draws(GDReG(num_particles=2), Sharp(50_000)).items():
        off = of_path - gradient_draws(DReG(num_particles=2), Sharp(50_000))[name]
        assert abs(float(off.mean())) < 4.5 * float(off.std()) / 50_000**0.5
