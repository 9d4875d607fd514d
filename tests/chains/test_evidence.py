"""Annealed weights against evidence that is known: unbiased with few powers, and the sandwich holds the truth."""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.chains.evidence import Budget, annealed, evidence_bounds, pilot, powers, rung
from ppgen.chains.posterior import LatentChains
from ppgen.data import DataSpec, linear_gaussian_truth
from ppgen.errors import UsageError
from ppgen.models import GAN, RBM, LinearGaussian
from ppgen.pairs.pair import Pair
from ppgen.pairs.sampling import prior_latents
from ppgen.pairs.tracing import Program, run_particles
from ppgen.testing.yardsticks import BernoulliYardstick, GaussianYardstick, SharedYardstick
from tests.discrete_doubles import Blend, Choice

CHAINS = 20_000


def true_pair() -> tuple[LinearGaussian, Tensor]:
    """The linear-Gaussian data's own truth in a pair, and 16 of the data."""
    data, truth = ppgen.load_data("linear_gaussian"), linear_gaussian_truth()
    pair = LinearGaussian(data.spec, truth.weight.shape[1], noise=truth.noise)
    with torch.no_grad():
        pair.weight.copy_(truth.weight)
        pair.loc.copy_(truth.loc)
    return pair, data.test[0][:16]


def weights(pair: Pair, x: Tensor, path: Tensor) -> Tensor:
    """log w along a path from the prior, (CHAINS, B)."""
    particles = run_particles(Program(pair.model, pair.guide), (x,), CHAINS)
    chains, start = LatentChains(particles, "a test"), prior_latents(particles)
    step = rung(chains, start, 2)
    path = path[:, None].expand(-1, len(x))
    return annealed(step, start, path, pilot(step, start, path))[0]


@pytest.mark.parametrize("pair", [GaussianYardstick, BernoulliYardstick], ids=lambda pair: pair.__name__)
@pytest.mark.parametrize("num", [1, 3])
def test_the_mean_weight_is_the_evidence_however_few_the_powers(pair: Any, num: int) -> None:
    """Two data, each within 4.5 standard errors: a false alarm in 70,000."""
    torch.manual_seed(0)
    x, made = torch.tensor([-1.0, 1.5], dtype=torch.float64), pair()
    ratio = (weights(made, x, powers(num)) - made.log_evidence(x)).exp()
    assert ((ratio.mean(0) - 1).abs() < 4.5 * ratio.std(0) / CHAINS**0.5).all()


def test_more_powers_give_more_even_weights() -> None:
    torch.manual_seed(0)
    x = torch.tensor([1.5], dtype=torch.float64)
    few, many = (float(weights(GaussianYardstick(), x, powers(num)).std()) for num in (1, 20))
    assert many < few / 3


@pytest.mark.parametrize("double", [Choice, Blend], ids=lambda double: double.__name__)
def test_one_hot_and_mixed_latents_have_weights_that_mean_the_evidence(double: Any) -> None:
    """Within 4.5 standard errors: a false alarm in 150,000."""
    torch.manual_seed(0)
    pair = double()
    mass, log_w = pair.atoms(pair.parameters_once())
    exact = (mass.log() + log_w).logsumexp(0).detach()
    ratio = (weights(pair, pair.batch[0], powers(4)) - exact).exp()
    assert ((ratio.mean(0) - 1).abs() < 4.5 * ratio.std(0) / CHAINS**0.5).all()


def test_the_sandwich_holds_the_exact_evidence_and_is_narrow_at_the_default_budget() -> None:
    """The mean bounds are on their sides of the truth less 4 standard errors: a false alarm in 10,000."""
    torch.manual_seed(0)
    pair, x = true_pair()
    found = evidence_bounds(pair, (x,))
    gap = pair.log_evidence(x).detach().double() - found.lower
    width = found.simulated_upper - found.simulated_lower
    assert float(gap.mean()) > -4 * float(gap.std()) / len(gap) ** 0.5
    assert float(gap.mean()) < 0.1
    assert -4 * float(width.std()) / len(width) ** 0.5 < float(width.mean()) < 0.1
    assert 0.6 < float(found.acceptance.mean()) < 0.95


def test_bounds_with_one_power_are_those_of_importance_sampling_from_the_prior_and_wide() -> None:
    torch.manual_seed(0)
    pair, x = true_pair()
    found = evidence_bounds(pair, (x,), Budget(num_powers=1, num_leapfrogs=1))
    assert float((pair.log_evidence(x).detach() - found.lower).mean()) > 1
    assert float((found.simulated_upper - found.simulated_lower).mean()) > 1


def test_latents_of_the_whole_data_set_are_held_and_the_evidence_is_given_them() -> None:
    """At a guide that knows m the evidence is log N(x; m, 1 + w^2), within 0.1 nats."""
    torch.manual_seed(0)
    pair, x = SharedYardstick(), torch.tensor([-1.0, 1.5], dtype=torch.float64)
    with torch.no_grad():
        pair.log_s.fill_(-12.0)
    found = evidence_bounds(pair, (x,), Budget(num_chains=200, num_leapfrogs=2))
    exact = torch.distributions.Normal(pair.b, (1 + pair.w.square()).sqrt()).log_prob(x)
    assert float((found.lower - exact).detach().abs().max()) < 0.1
    assert float((found.simulated_upper - found.simulated_lower).abs().max()) < 0.2


def test_the_random_state_decides_and_parameters_are_left_alone() -> None:
    pair, x = true_pair()
    budget, before = Budget(num_powers=3, num_chains=2, num_leapfrogs=1), [value.clone() for value in pair.parameters()]
    torch.manual_seed(0)
    first = evidence_bounds(pair, (x,), budget, num_simulated=4)
    torch.manual_seed(0)
    second = evidence_bounds(pair, (x,), budget, num_simulated=4)
    assert first.lower.shape == (16,)
    assert first.simulated_lower.shape == (4,)
    assert torch.equal(first.lower, second.lower)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, pair.parameters(), strict=True))


def test_the_pilot_steers_by_a_tenth_of_what_the_rate_exceeds_four_fifths() -> None:
    """From 1/2, where every step is accepted: each size is the last times exp(0.1 (1 - 0.8))."""
    path = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
    sizes = pilot(lambda z, before, after, size: (z, size, torch.ones_like(size)), {}, path)
    torch.testing.assert_close(sizes[:, 0], 0.5 * (0.02 * torch.arange(3, dtype=torch.float64)).exp())


def test_powers_are_densest_at_both_ends_and_symmetric() -> None:
    steps = powers(50).diff()
    assert torch.allclose(steps, steps.flip(0))
    assert steps.argmax() in (24, 25)
    assert math.isclose(float(steps.sum()), 1)


@pytest.mark.parametrize("name", ["num_powers", "num_chains", "num_leapfrogs"])
def test_a_budget_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} of an annealing budget must be a whole number of at least 1, got 0"):
        Budget(**{name: 0})


class Untempered(LatentChains):
    """Chains that go to the posterior whatever the power."""

    def transition(self, z: Any, step_size: Tensor, num_leapfrogs: int, power: Any = 1.0) -> Any:
        return super().transition(z, step_size, num_leapfrogs)


@pytest.mark.parametrize("pair", [GaussianYardstick, BernoulliYardstick], ids=lambda pair: pair.__name__)
def test_chains_that_forget_the_power_are_caught(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("tests.chains.test_evidence.LatentChains", Untempered)
    x, made = torch.tensor([-1.0, 1.5], dtype=torch.float64), pair()
    ratio = (weights(made, x, powers(3)) - made.log_evidence(x)).exp()
    assert ((ratio.mean(0) - 1).abs() > 4.5 * ratio.std(0) / CHAINS**0.5).any()


class OnTheSphere(Pair):
    """A latent on the circle as a vector, to which torch knows no bijection."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.ProjectedNormal(torch.ones(2, dtype=x.dtype)))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.ProjectedNormal(x))


def test_a_latent_that_cannot_be_moved_is_named() -> None:
    with pytest.raises(UsageError, match=r"site 'z' is continuous on .* no bijection from the reals: annealing"):
        evidence_bounds(OnTheSphere(), (torch.ones(3, 2),))


def test_an_implicit_and_an_unnormalised_pair_are_refused() -> None:
    for model, sentence in ((GAN, "GAN is implicit"), (RBM, "RBM is unnormalised")):
        spec = DataSpec("x", 4, "real" if model is GAN else "binary")
        with pytest.raises(UsageError, match=sentence):
            evidence_bounds(model(spec), (torch.zeros(3, 4),))
