"""The yardstick itself: evidence and posterior against textbook algebra, its exact guide, its gaps."""

from math import log
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ppgen.data import DataSpec, linear_gaussian_truth
from ppgen.errors import UsageError
from ppgen.models import LinearGaussian
from ppgen.pairs.tracing import Particles, Program, run_particles

SPEC = DataSpec("numbers", 5, "real")


def random_pair(guide: Any = "full", latent_dim: int = 3, *, learn_prior_loc: bool = True) -> LinearGaussian:
    """A pair in float64 with every parameter off its initial value."""
    pair = LinearGaussian(SPEC, latent_dim, guide=guide, learn_prior_loc=learn_prior_loc).double()
    with torch.no_grad():
        for value in pair.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return pair


def run(pair: LinearGaussian, x: Tensor, num_particles: int) -> Particles:
    return run_particles(Program(pair.model, pair.guide), (x,), num_particles)


def data() -> Tensor:
    return torch.randn(4, 5, dtype=torch.float64)


@torch.no_grad()
def joint(pair: LinearGaussian) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the stacked (z, x)."""
    prior = torch.zeros(pair.latent_dim).double() if pair.prior_loc is None else pair.prior_loc
    weight, noise = pair.weight, (2 * pair.log_noise).exp()
    cov_x = weight @ weight.T + noise * torch.eye(5, dtype=torch.float64)
    top = torch.cat([torch.eye(pair.latent_dim, dtype=torch.float64), weight.T], 1)
    return torch.cat([prior, weight @ prior + pair.loc]), torch.cat([top, torch.cat([weight, cov_x], 1)])


@pytest.mark.parametrize("learn_prior_loc", [True, False])
@pytest.mark.parametrize("latent_dim", [1, 3, 7])
def test_evidence_is_the_marginal_of_the_joint(latent_dim: int, learn_prior_loc: bool) -> None:
    pair, x = random_pair(latent_dim=latent_dim, learn_prior_loc=learn_prior_loc), data()
    mean, cov = joint(pair)
    expected = dist.MultivariateNormal(mean[latent_dim:], cov[latent_dim:, latent_dim:]).log_prob(x)
    torch.testing.assert_close(pair.log_evidence(x), expected)


@pytest.mark.parametrize("learn_prior_loc", [True, False])
@pytest.mark.parametrize("latent_dim", [1, 3, 7])
def test_posterior_is_the_conditional_of_the_joint(latent_dim: int, learn_prior_loc: bool) -> None:
    pair, x = random_pair(latent_dim=latent_dim, learn_prior_loc=learn_prior_loc), data()
    mean, cov = joint(pair)
    gain = cov[:latent_dim, latent_dim:] @ cov[latent_dim:, latent_dim:].inverse()
    posterior = pair.posterior(x)
    torch.testing.assert_close(posterior.mean, mean[:latent_dim] + (x - mean[latent_dim:]) @ gain.T)
    expected = cov[:latent_dim, :latent_dim] - gain @ cov[latent_dim:, :latent_dim]
    torch.testing.assert_close(posterior.covariance_matrix, expected.expand(4, -1, -1))


@pytest.mark.parametrize("guide", ["full", "mean_field"])
def test_log_weights_are_those_of_the_page(guide: str) -> None:
    pair, x = random_pair(guide), data()
    particles = run(pair, x, 6)
    z = particles.guide_sites["z"]["value"]  # (K, B, latent)
    mean, cov = joint(pair)
    both = torch.cat([z, x.expand(6, 4, 5)], -1)
    torch.testing.assert_close(particles.log_p, dist.MultivariateNormal(mean, cov).log_prob(both))
    raw = pair.guide_scale
    factor = raw.exp().diag() if guide == "mean_field" else raw.tril(-1) + raw.diagonal().exp().diag()
    loc = x @ pair.guide_weight.T + pair.guide_loc
    torch.testing.assert_close(particles.log_q, dist.MultivariateNormal(loc, factor @ factor.T).log_prob(z))


def test_under_the_exact_guide_every_weight_is_the_evidence() -> None:
    pair, x = random_pair(), data()
    pair.set_exact_guide()
    log_w = run(pair, x, 50).log_w
    torch.testing.assert_close(log_w, pair.log_evidence(x).expand(50, 4), rtol=0, atol=1e-10)


def test_under_the_exact_guide_the_mean_gradient_is_that_of_the_evidence() -> None:
    """Fisher's identity: E_q[grad log p(x, z)] = grad log p(x).

    A z-test of each of 24 parameters at 5.5 standard errors of 400 draws: false alarms 1 in a million.
    """
    pair, x = random_pair(), data()
    pair.set_exact_guide()
    names = ["weight", "loc", "log_noise", "prior_loc"]
    parameters = [getattr(pair, name) for name in names]
    exact = torch.autograd.grad(pair.log_evidence(x).sum(), parameters)
    each = run(pair, x, 400).with_fixed(latents=True).log_p.sum(1)  # (K,)
    draws = torch.autograd.grad(each, parameters, torch.eye(400).to(each), is_grads_batched=True)  # (K, ...)
    for sample, expected in zip(draws, exact, strict=True):
        error = sample.std(0) / 20
        assert ((sample.mean(0) - expected).abs() < 5.5 * error).all()


def test_a_mean_field_guide_cannot_be_exact() -> None:
    with pytest.raises(UsageError, match="make the pair with guide='full'"):
        random_pair("mean_field").set_exact_guide()


@pytest.mark.parametrize("guide", ["full", "mean_field"])
def test_the_kl_of_guide_and_prior_has_a_closed_form(guide: str) -> None:
    """Monte Carlo within 4.5 standard errors (false alarms: 1 in 150,000 a datum)."""
    pair, x = random_pair(guide), data()
    particles = run(pair, x, 4000)
    q, p = particles.guide_sites["z"]["fn"], particles.model_sites["z"]["fn"]
    draws = particles.log_prob("z", particles.guide_sites) - particles.log_prob("z")
    gap = (draws.mean(0) - kl_divergence(q, p)[0]).abs()
    assert (gap < 4.5 * draws.std(0) / 4000**0.5).all()


def test_evidence_of_the_synthetic_data_is_their_truths() -> None:
    truth = linear_gaussian_truth(num_features=5, latent_dim=3)
    pair = LinearGaussian(SPEC, 3, noise=truth.noise)
    with torch.no_grad():
        pair.weight.copy_(truth.weight)
        pair.loc.copy_(truth.loc)
    x = torch.randn(4, 5)
    torch.testing.assert_close(pair.log_evidence(x), truth.log_prob(x))


def signal_to_noise_pair(dim: int) -> LinearGaussian:
    """z ~ N(mu, I), x | z ~ N(z, I), q = N(A x + b, (2/3) I) at its optimum A = I/2, b = mu/2.

    The problem of Tighter Variational Bounds are Not Necessarily Better, Rainforth et al., 2018, section 4.
    """
    pair = LinearGaussian(DataSpec("x", dim, "real"), dim, guide="mean_field", learn_prior_loc=True).double()
    assert pair.prior_loc is not None
    with torch.no_grad():
        pair.weight.copy_(torch.eye(dim))
        pair.prior_loc.normal_()
        pair.guide_weight.copy_(torch.eye(dim) / 2)
        pair.guide_loc.copy_(pair.prior_loc / 2)
        pair.guide_scale.fill_(log(2 / 3) / 2)
    return pair


def test_the_signal_to_noise_problem_has_its_known_evidence_and_gap() -> None:
    """log p(x) = log N(x; mu, 2 I); the mean log-weight is KL(q || p(z | x)) = (D / 2)(1/3 - log 4/3) less.

    Within 4.5 standard errors (false alarms: 1 in 150,000 a datum).
    """
    pair, dim = signal_to_noise_pair(20), 20
    x = torch.randn(3, dim, dtype=torch.float64)
    assert pair.prior_loc is not None
    evidence = dist.Normal(pair.prior_loc, 2**0.5).log_prob(x).sum(-1)
    torch.testing.assert_close(pair.log_evidence(x), evidence)
    log_w = run(pair, x, 4000).log_w
    gap = evidence - log_w.mean(0) - dim / 2 * (1 / 3 - log(4 / 3))
    assert (gap.abs() < 4.5 * log_w.std(0) / 4000**0.5).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"latent_dim": 0}, "latent_dim must be a whole number of at least 1, got 0."),
        (
            {"guide": "mean-field"},
            "expected 'full' or 'mean_field' or 'semi_implicit' or a flow such as 'iaf(num=2)', got 'mean-field'",
        ),
        ({"noise": 0.0}, "noise must be a number above 0, got 0.0."),
        ({"noise": "a"}, "noise must be a number above 0, got 'a'."),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        LinearGaussian(SPEC, **options)
    assert str(error.value).startswith(sentence)


def test_binary_data_are_refused() -> None:
    with pytest.raises(UsageError, match="LinearGaussian needs real data, but data 'pixels' are binary"):
        LinearGaussian(DataSpec("pixels", 5, "binary"))
