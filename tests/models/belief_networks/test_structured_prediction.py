"""Structured prediction: p(lower half | upper half), its evidence by enumeration, and draws that are whole pictures."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.distributions.completion import Completion
from ppgen.draws.samples import prior_samples, reconstructions
from ppgen.errors import UsageError
from ppgen.models import StructuredPrediction
from ppgen.pairs.tracing import Particles, Program, run_particles

SPEC = DataSpec("pixels", 5, "binary", mean=torch.linspace(0.1, 0.9, 5))
X = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0, 1.0]], dtype=torch.float64)
BITS = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)


def tiny(**options: Any) -> StructuredPrediction:
    pair = StructuredPrediction(SPEC, (2, 2), **options).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return pair


def enumerated(pair: StructuredPrediction, x: Tensor) -> Particles:
    """All 16 states of the two layers of two binary units."""
    z = BITS[:, None].expand(-1, len(x), -1)
    states = {"z1": z[..., :2], "z2": z[..., 2:]}
    return run_particles(Program(pair.model, pair.guide), (x,), 16, states)


def bernoulli(z: Tensor, logits: Tensor) -> Tensor:
    log_prob: Tensor = dist.Bernoulli(logits=logits).log_prob(z).sum(-1)
    return log_prob


@pytest.mark.parametrize("recognition", [False, True])
def test_log_weights_are_those_of_the_page(recognition: bool) -> None:
    pair = tiny(recognition=recognition)
    z1, z2, upper, lower = BITS[:, None, :2], BITS[:, None, 2:], X[:, :2], X[:, 2:]
    prior = bernoulli(z1, pair.networks[0](upper - pair.mean[:2])) + bernoulli(z2, pair.networks[1](2 * z1 - 1))
    log_q = prior
    if recognition:
        seen = (X - pair.mean).expand(16, -1, -1)
        log_q = bernoulli(z1, pair.encoders[0](seen))
        code = (2 * z1 - 1).expand(-1, 2, -1)
        log_q = log_q + bernoulli(z2, pair.encoders[1](torch.cat([seen, code], -1)))
    particles = enumerated(pair, X)
    torch.testing.assert_close(particles.log_q, log_q)
    torch.testing.assert_close(particles.log_p, prior + bernoulli(lower, pair.decoder(2 * z2 - 1)))


def test_with_the_prior_as_guide_log_weights_are_log_likelihoods() -> None:
    particles = run_particles(Program((pair := tiny()).model, pair.guide), (X,), 3)
    torch.testing.assert_close(particles.log_w, particles.log_likelihood)
    assert len(pair.encoders) == 0


def test_it_is_a_distribution_of_lower_halves() -> None:
    lower = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    x = torch.cat([X[:1, :2].expand(8, -1), lower], -1)
    total = enumerated(tiny(), x).log_p.logsumexp((0, 1)).exp()
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64))


def test_the_upper_half_is_given_and_not_modelled() -> None:
    """The density of a lower half is that of its own upper half: another one changes it, and adds no term."""
    pair, other = tiny(), X.clone()
    other[1, :2] = 1 - X[1, :2]
    before, after = enumerated(pair, X).log_p.logsumexp(0), enumerated(pair, other).log_p.logsumexp(0)
    torch.testing.assert_close(after[0], before[0])
    assert after[1] != before[1]


@pytest.mark.parametrize("made", [prior_samples, reconstructions])
def test_draws_are_whole_data_with_the_upper_half_as_given(made: Any) -> None:
    draws = made(tiny(), (X,), *([2] if made is prior_samples else []))
    for part in (draws.x, draws.mean):
        assert part.shape == (2, 5)
        assert torch.equal(part[:, :2], X[:, :2])
    assert set(draws.x.flatten().tolist()) <= {0.0, 1.0}


def test_categorical_layers_have_rows_of_classes() -> None:
    pair = StructuredPrediction(SPEC, (4, 2), classes=3, recognition=True)
    particles = run_particles(Program(pair.model, pair.guide), (X.float(),), 3)
    shapes = {name: tuple(particles.guide_sites[name]["value"].shape) for name in particles.latents}
    assert shapes == {"z1": (3, 2, 4, 3), "z2": (3, 2, 2, 3)}


def test_real_data_keep_their_likelihood() -> None:
    pair = StructuredPrediction(DataSpec("numbers", 5, "real"), (2, 2)).double()
    particles = run_particles(Program(pair.model, pair.guide), (X,), 3)
    mean = pair.decoder(2 * particles.guide_sites["z2"]["value"] - 1)
    torch.testing.assert_close(particles.log_likelihood, dist.Normal(mean, 1.0).log_prob(X[:, 2:]).sum(-1))


def test_data_of_one_number_are_refused() -> None:
    with pytest.raises(UsageError, match="needs data of two numbers or more, and 'one' has one"):
        StructuredPrediction(DataSpec("one", 1, "real"))


@pytest.mark.parametrize(
    "rest", [dist.Normal(torch.zeros(3), 1.0).to_event(1), dist.Bernoulli(torch.rand(3)).to_event(1)]
)
def test_a_completion_is_the_rest_with_the_given_before_it(rest: Any) -> None:
    given = torch.ones(4, 2)
    whole = Completion(given, rest).expand([7, 4])
    x = whole.sample()
    assert (whole.batch_shape, whole.event_shape, whole.has_rsample) == ((7, 4), (5,), rest.has_rsample)
    assert x.shape == whole.mean.shape == (7, 4, 5)
    assert (x[..., :2] == 1).all()
    torch.testing.assert_close(whole.log_prob(x), rest.log_prob(x[..., 2:]))
    assert whole.support.check(x).all()


@pytest.mark.usefixtures("graphs_as_they_are")
def test_it_is_fitted_and_evaluated_like_any_pair() -> None:
    """On digits its lower halves become more likely; the evaluation is in nats per lower half."""
    data = ppgen.load_data("digits")
    pair = StructuredPrediction(data.spec, (20, 20))
    before = ppgen.log_weights(pair, data.test, num_particles=50).logsumexp(0).mean()
    ppgen.fit(pair, data, ppgen.make_objective("vimco", num_particles=5), epochs=3, lr=1e-2, seed=0)
    after = ppgen.log_weights(pair, data.test, num_particles=50).logsumexp(0).mean()
    assert after > before + 1
