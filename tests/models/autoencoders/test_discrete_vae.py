"""The VAE with discrete latents: densities of the page, for binary and for categorical units."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.models import DiscreteVAE
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.tracing import Particles, Program, run_particles
from tests.inference.truth import iwelbo

BINARY = DataSpec("pixels", 12, "binary", image_shape=(3, 4), mean=torch.linspace(0.1, 0.9, 12))
REAL = DataSpec("numbers", 12, "real", image_shape=(3, 4))
KINDS: dict[str, dict[str, Any]] = {
    "binary": {"units": 4},
    "categorical": {"units": 2, "classes": 3},
    "linear": {"units": 4, "hidden": ()},
    "conv": {"units": 2, "classes": 3, "network": "conv", "channels": (2,)},
}


def tiny(spec: DataSpec = BINARY, **options: Any) -> tuple[DiscreteVAE, Tensor]:
    """A small pair in float64 whose prior is not uniform, and three data."""
    pair = DiscreteVAE(spec, **{"hidden": (4,), **options}).double()
    torch.nn.init.normal_(pair.prior)
    return pair, torch.randint(2, (3, 12)).double()


def enumerated(pair: DiscreteVAE, x: Tensor) -> Particles:
    """All states as particles."""
    fn = pair.units(pair.prior)
    states = family_of(fn, "a test").states(fn)  # (S, *event)
    each = states.unsqueeze(1).expand(-1, len(x), *states.shape[1:])
    return run_particles(Program(pair.model, pair.guide), (x,), len(states), {"z": each})


@pytest.mark.parametrize("spec", [BINARY, REAL], ids=lambda spec: spec.observation)
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_log_weights_are_those_of_the_page(options: dict[str, Any], spec: DataSpec) -> None:
    pair, x = tiny(spec, **options)
    particles = enumerated(pair, x)
    z = particles.guide_sites["z"]["value"]  # (S, B, units) or (S, B, units, classes)
    code = 2 * z - 1 if pair.units.binary else z.flatten(-2)
    numbers = torch.stack([pair.prior.expand(3, -1), pair.encoder(x - pair.mean)])  # (2, B, numbers)
    if pair.units.binary:
        log_p, log_q = dist.Bernoulli(logits=numbers[:, None]).log_prob(z).sum(-1)
    else:
        logits = numbers.unflatten(-1, (2, 3)).log_softmax(-1)
        log_p, log_q = (z * logits[:, None]).sum((-2, -1))
    torch.testing.assert_close(particles.log_p, log_p + pair.likelihood(pair.decoder(code), x).log_prob(x))
    torch.testing.assert_close(particles.log_q, log_q)
    torch.testing.assert_close(log_q.logsumexp(0).exp(), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_a_bound_of_many_particles_comes_to_the_evidence(options: dict[str, Any]) -> None:
    """100 bounds of 2,000 particles; twelve comparisons, two-sided: a false alarm with probability 1e-4."""
    pair, x = tiny(**options)
    exact = enumerated(pair, x).log_p.logsumexp(0)
    many = x.repeat_interleave(100, 0)
    bounds = iwelbo(run_particles(Program(pair.model, pair.guide), (many,), 2_000).log_w).view(3, 100)
    assert ((bounds.mean(1) - exact) / (bounds.std(1) / 10)).abs().max() < 4.5


def test_the_latents_are_of_the_families_that_estimators_relax() -> None:
    for kind, shape in (("binary", (4,)), ("categorical", (2, 3))):
        pair, x = tiny(**KINDS[kind])
        site = run_particles(Program(pair.model, pair.guide), (x,), 2).guide_sites["z"]
        assert family_of(site, "REBAR").relaxable
        assert site["value"].shape == (2, 3, *shape)


def test_it_starts_with_a_uniform_prior_and_at_the_training_mean() -> None:
    pair = DiscreteVAE(BINARY, 3, hidden=())
    assert not pair.prior.any()
    assert BINARY.mean is not None
    torch.testing.assert_close(pair.decoder(torch.zeros(3)).sigmoid(), BINARY.mean)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"units": 0}, "units must be a whole number of at least 1, got 0."),
        ({"classes": 1}, "classes must be a whole number of at least 2, got 1."),
        ({"network": "cnv"}, "expected the name of a network, got 'cnv': did you mean 'conv'?"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        DiscreteVAE(BINARY, **options)
    assert str(error.value).startswith(sentence)
