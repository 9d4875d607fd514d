"""The VAE's densities are those its page states, for every likelihood and network."""

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from ppgen.data import DataSpec
from ppgen.errors import UsageError
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
