"""log p(x) of decoders by annealing, against truth in float64."""

import math

import pyro
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

import ppgen
from ppgen.chains.evidence import Bounds, Budget, evidence_bounds
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation import Annealing, evaluate
from ppgen.models import GAN, VAE
from ppgen.pairs.noised import Noised
from tests.implicit import Push, plane

_NOISE = 0.5
_BUDGET = Budget(num_powers=60, num_chains=64, num_leapfrogs=3)


def generator(num_features: int, latent_dim: int, hidden: tuple[int, ...]) -> GAN:
    """A generator in float64."""
    return GAN(DataSpec("points", num_features, "real"), latent_dim, hidden=hidden, activation="tanh").double()


def by_quadrature(pair: GAN, x: Tensor) -> Tensor:
    """log int N(z; 0, 1) N(x; G(z), sigma^2 I) dz, (B,), by the trapezoidal rule on [-8, 8]."""
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    with torch.no_grad():
        made = pair.generator(z[:, None])  # (n, D)
    joint = Normal(0.0, 1.0).log_prob(z)[:, None] + Normal(made[:, None], _NOISE).log_prob(x).sum(-1)  # (n, B)
    total: Tensor = joint.logsumexp(0)
    return total + math.log(16 / 4000)


def agree(found: Bounds, truth: Tensor) -> None:
    """The mean over data within 3 standard errors of its chains: false alarms of 3 in 1,000, at a fixed seed none."""
    error = float(found.lower_error.square().sum().sqrt()) / len(truth)
    assert 0 < error < 0.1
    assert float(found.lower.mean()) == pytest.approx(float(truth.mean()), abs=3 * error)


def test_a_linear_generator_with_noise_has_the_density_of_a_normal() -> None:
    pyro.set_rng_seed(1)
    pair = generator(3, 2, ())
    linear = next(module for module in pair.modules() if isinstance(module, nn.Linear))
    weight, x = linear.weight.detach(), torch.randn(6, 3, dtype=torch.float64)
    covariance = weight @ weight.T + _NOISE**2 * torch.eye(3, dtype=torch.float64)
    truth = MultivariateNormal(linear.bias.detach(), covariance).log_prob(x)
    found = evidence_bounds(Noised(pair, _NOISE), (x,), _BUDGET)
    agree(found, truth)
    width = found.simulated_upper - found.simulated_lower
    assert abs(float(width.mean())) < 0.5


def test_a_generator_of_one_latent_has_the_density_of_a_quadrature() -> None:
    pyro.set_rng_seed(2)
    pair = generator(2, 1, (4,))
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.mul_(2.0)
    x = torch.randn(6, 2, dtype=torch.float64)
    agree(evidence_bounds(Noised(pair, _NOISE), (x,), _BUDGET), by_quadrature(pair, x))


def test_the_standard_error_of_a_datum_is_its_spread_over_runs() -> None:
    """The spread of 60 runs is known to 9 percent, and a tolerance of 3 of these and the delta method's own."""
    pyro.set_rng_seed(3)
    pair, x = generator(2, 1, ()), torch.randn(1, 2, dtype=torch.float64)
    found = evidence_bounds(Noised(pair, _NOISE), (x.expand(60, 2),), Budget(num_powers=8, num_chains=40))
    assert float(found.lower_error.mean()) == pytest.approx(float(found.lower.std()), rel=0.35)
    of_sizes = ((40 / found.effective_sample_size - 1) / 39).sqrt()
    assert torch.allclose(found.lower_error, of_sizes, rtol=1e-6)


def test_noise_leaves_the_pair_and_its_sites_as_they_were() -> None:
    data = plane(4)
    pair = Push(data.spec)
    noised, (x,) = Noised(pair, 0.3), data.train
    log_w = ppgen.log_weights(noised, (x,), num_particles=3)  # the guide is the prior: log p(x | z)
    assert bool((log_w <= -math.log(2 * math.pi * 0.3**2) + 1e-4).all())
    assert pair.implicit
    assert noised.has_density


def test_evaluation_says_the_number_its_noise_and_the_gap() -> None:
    pyro.set_rng_seed(0)
    data = plane(40)
    asked = Annealing(num_powers=20, num_chains=4, num_leapfrogs=2, num_data=10, num_simulated=6, noise=0.5)
    found = evaluate(Push(data.spec), data, num_samples=20, annealing=asked)
    measures = {measure.name: measure for measure in found.measures}
    truth = Normal(0.0, math.sqrt(1.25)).log_prob(data.test[0][:10]).sum(1).mean()
    nats, worth = measures["annealed_log_likelihood"], measures["annealed_effective_size"]
    assert 1 <= worth.value <= 4
    assert "of the 4 chains of a datum" in worth.meaning
    assert nats.value == pytest.approx(float(truth), abs=0.5)
    assert "10 test data under noise of sigma 0.5" in nats.meaning
    assert abs(measures["annealed_gap"].value) < 1
    assert "6 data that the model made" in measures["annealed_gap"].meaning


def test_a_vae_needs_no_noise_and_a_generator_does() -> None:
    x = torch.rand(10, 4).round()
    binary = Dataset(DataSpec("bits", 4, "binary"), (x,), (x,), (x,))
    few = {"num_powers": 3, "num_chains": 2, "num_leapfrogs": 1, "num_data": 4}
    vae = VAE(binary.spec, 2, hidden=(3,))
    assert "annealed_log_likelihood" in evaluate(vae, binary, particles=2, annealing=few).to_json()
    with pytest.raises(UsageError, match="VAE states one: leave it out"):
        evaluate(vae, binary, particles=2, annealing={**few, "noise": 0.1})
    data = plane(10)
    with pytest.raises(UsageError, match="Push makes x = G"):
        evaluate(Push(data.spec), data, num_samples=10, annealing=few)
    with pytest.raises(UsageError, match="noise"):
        Annealing(noise=0.0)
    with pytest.raises(UsageError, match="powers"):
        evaluate(vae, binary, particles=2, annealing={"powers": 3})
