"""The VAE's densities are those its page states, for every likelihood and network."""

import itertools
import math
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from ppgen.data import DataSpec, dataset_from
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.models import VAE
from ppgen.pairs.tracing import Program, run_particles

BINARY = DataSpec("pixels", 12, "binary", image_shape=(3, 4), num_data=20)
REAL = DataSpec("numbers", 12, "real", image_shape=(3, 4))
QUANTISED = DataSpec("greys", 12, "quantised", image_shape=(3, 4), levels=5)


def tiny(spec: DataSpec, network: str = "mlp") -> tuple[VAE, Tensor]:
    """A small pair in float64 and five data."""
    pair = VAE(spec, 2, hidden=(4,), network=network, channels=(2,)).double()
    return pair, torch.randint(2, (5, 12)).double()


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("spec", [BINARY, REAL, QUANTISED], ids=lambda spec: spec.observation)
def test_log_weights_are_those_of_the_page(spec: DataSpec, network: str) -> None:
    pair, x = tiny(spec, network)
    particles = run_particles(Program(pair.model, pair.guide), (x,), 3)
    z = particles.guide_sites["z"]["value"]  # (K, B, latent)
    log_prior = dist.Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z).sum(-1)
    log_likelihood = pair.likelihood(pair.decoder(z), x).log_prob(x)
    loc, log_scale = pair.encoder.network(x).chunk(2, -1)
    log_q = dist.Normal(loc, log_scale.exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(particles.log_p, log_prior + log_likelihood)
    torch.testing.assert_close(particles.log_q, log_q)
    assert particles.log_w.shape == (3, 5)


def test_a_minibatch_stands_for_all_training_data() -> None:
    pair, x = tiny(BINARY)
    assert run_particles(Program(pair.model, pair.guide), (x,), 1).scale == 20 / 5


@pytest.mark.parametrize("spec", [BINARY, REAL, QUANTISED], ids=lambda spec: spec.observation)
def test_unconditioned_the_model_draws_data(spec: DataSpec) -> None:
    pair, x = tiny(spec)
    trace = poutine.trace(poutine.uncondition(pair.model)).get_trace(x)
    drawn: Tensor = trace.nodes["x"]["value"]  # type: ignore[assignment]
    assert drawn.shape == (5, 12)
    assert not torch.equal(drawn, x)
    if spec.observation != "real":
        levels = (spec.levels or 2) - 1
        torch.testing.assert_close(drawn * levels, (drawn * levels).round(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_the_decoder_starts_at_the_training_mean(network: str) -> None:
    mean = torch.linspace(0, 1, 12)
    spec = DataSpec("pixels", 12, "binary", image_shape=(3, 4), mean=mean)
    pair = VAE(spec, 2, hidden=(4,), network=network, channels=(2,))
    for name, value in pair.decoder.named_parameters():
        if "weight" in name:
            nn.init.zeros_(value)
    probs = pair.likelihood(pair.decoder(torch.randn(3, 2)), torch.zeros(3, 12)).mean
    torch.testing.assert_close(probs, mean.clamp(0.001, 0.999).expand(3, 12))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"latent_dim": 0}, "latent_dim must be a whole number of at least 1, got 0."),
        ({"latent_dim": 2.5}, "latent_dim must be a whole number of at least 1, got 2.5."),
        ({"network": "mpl"}, "expected the name of a network, got 'mpl': did you mean 'mlp'?"),
        ({"hidden": (4, -1)}, "hidden must be a list of whole numbers of at least 1, got (4, -1)."),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        VAE(BINARY, **options)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("means", ["identity", "sigmoid"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_gaussian_decoder_gives_the_noise_of_each_datum(network: str, means: Any) -> None:
    pair = VAE(QUANTISED, 2, hidden=(4,), network=network, channels=(2,), noise="network", means=means).double()
    x, z = torch.rand(5, 12).double(), torch.randn(3, 5, 2).double()
    outputs = pair.decoder(z)  # (K, B, 2 D)
    mu, log_variance = outputs[..., :12], 2 * outputs[..., 12:]
    mu = 1 / (1 + (-mu).exp()) if means == "sigmoid" else mu
    log_p = -0.5 * ((x - mu) ** 2 / log_variance.exp() + log_variance + math.log(2 * math.pi)).sum(-1)
    torch.testing.assert_close(pair.likelihood(outputs, x).log_prob(x), log_p)
    assert float(log_variance.detach().std()) > 0.01  # and it is another for each


def test_the_density_of_a_decoder_whose_noise_vanishes_has_no_bound_unless_it_is_asked_for() -> None:
    x = torch.full((1, 12), 0.3).double()
    found = {}
    for least in (0.0, 0.1):
        pair = VAE(REAL, 2, hidden=(4,), noise="network", min_noise=least).double()
        outputs = torch.cat([x, torch.full_like(x, -50.0)], -1)  # loc = x, scale = exp(-50)
        found[least] = float(pair.likelihood(outputs, x).log_prob(x))
    peak = -0.5 * math.log(2 * math.pi)
    assert found == pytest.approx({0.0: 12 * (50 + peak), 0.1: 12 * (math.log(10) + peak)})


def test_a_gaussian_decoder_starts_at_the_training_mean() -> None:
    mean = torch.linspace(0.1, 0.9, 12)
    spec = DataSpec("greys", 12, "quantised", levels=5, mean=mean)
    for noise, means in itertools.product(("learned", "network"), ("identity", "sigmoid")):
        options: dict[str, Any] = {"noise": noise, "means": means}
        pair = VAE(spec, 2, hidden=(4,), **options)
        start = pair.likelihood([*pair.decoder.parameters()][-1], mean)
        torch.testing.assert_close(start.mean, mean)
        torch.testing.assert_close(start.stddev, torch.ones(12))


def test_the_density_of_grey_levels_as_real_numbers_is_no_bits() -> None:
    x = torch.randint(5, (6, 12)) / 4
    data = dataset_from(x, test=x, observation="quantised", levels=5)
    for noise in (None, "network"):
        bits = evaluate(VAE(QUANTISED, 2, hidden=(4,), noise=noise), data, particles=2, progress=False).bits_per_dim
        assert (bits is None) == (noise is not None)


@pytest.mark.parametrize(
    ("spec", "options", "sentence"),
    [
        (
            BINARY,
            {"noise": "network"},
            "noise='network' is that of real data or grey levels, but data 'pixels'",
        ),
        (REAL, {"means": "sigmoid"}, "means='sigmoid' are in (0, 1), but data 'numbers' are real numbers of any size"),
        (QUANTISED, {"min_noise": 0.1}, "min_noise=0.1 is of a Gaussian likelihood: ask for one with noise='learned'"),
        (REAL, {"noise": "netwrk"}, "noise must be "),
    ],
)
def test_a_gaussian_likelihood_of_other_data_is_refused(spec: DataSpec, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        VAE(spec, 2, **options)
    assert str(error.value).startswith(sentence)
