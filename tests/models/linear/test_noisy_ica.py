"""Noisy ICA: log p(x) against quadrature over its sources, and known sources that are separated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.data import load_data
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.evaluation.amari import amari_index
from ppgen.inference import IWELBO
from ppgen.layers.linear_latents import gaussian
from ppgen.models import LinearGaussian, NoisyICA

DENSITIES = {
    "laplace": lambda s: -s.abs() - math.log(2),
    "logistic": lambda s: -s - 2 * torch.log1p((-s).exp()),
    "cosh": lambda s: -(torch.pi * s.cosh()).log(),
}


def nodes() -> tuple[Tensor, Tensor]:
    """Gauss-Legendre, 12 nodes in each of 40 panels from -20 to 20, a Laplace's kink at an edge; and log-weights."""
    at, weights = np.polynomial.legendre.leggauss(12)
    edges = np.linspace(-20, 20, 41)
    s = ((edges[:-1] + edges[1:]) / 2)[:, None] + at / 2
    return torch.from_numpy(s.ravel()), torch.from_numpy(np.tile(weights / 2, 40)).log()


def by_quadrature(pair: NoisyICA, x: Tensor) -> Tensor:
    """log p(x), (B, D) to (B,)."""
    s, log_weight = nodes()
    grid = torch.cartesian_prod(*[s] * pair.latent_dim).reshape(-1, pair.latent_dim)
    prior = (DENSITIES[pair.kind](grid)).sum(-1)
    prior = prior + torch.cartesian_prod(*[log_weight] * pair.latent_dim).reshape(-1, pair.latent_dim).sum(-1)
    noise, mean = pair.log_noise.exp(), grid @ pair.weight.T + pair.loc
    normal = torch.stack([-((one - mean) / noise).square().sum(-1) / 2 for one in x])
    evidence: Tensor = (prior + normal).logsumexp(-1) - x.shape[1] * (noise.log() + math.log(2 * math.pi) / 2)
    return evidence


def with_normal_posterior(kind: Any, weight: Tensor, noise: float) -> NoisyICA:
    """The guide is wider than p(z | x), being that of normal sources of variance 100."""
    features, number = weight.shape
    pair = NoisyICA(DataSpec("numbers", features, "real"), number, sources=kind, noise=noise).double()
    covariance = torch.linalg.inv(weight.T @ weight / noise**2 + torch.eye(number) / 100)
    scale = torch.linalg.cholesky(covariance)
    with torch.no_grad():
        pair.weight.copy_(weight)
        pair.loc.copy_(torch.linspace(-1, 1, features))
        pair.guide_weight.copy_(covariance @ weight.T / noise**2)
        pair.guide_loc.copy_(-pair.guide_weight @ pair.loc)
        pair.guide_scale.copy_(scale.tril(-1) + scale.diagonal().log().diag())
    return pair


@pytest.mark.parametrize(
    ("weight", "noise"),
    [
        (torch.tensor([[1.0], [-0.5]]).double(), 0.5),
        (torch.tensor([[1.0, 0.5], [0.3, -1.0], [0.2, 0.8]]).double(), 0.4),
        (torch.tensor([[1.0, 0.7]]).double(), 0.8),  # more sources than numbers
    ],
    ids=["one", "two", "two of one number"],
)
@pytest.mark.parametrize("kind", ["laplace", "logistic", "cosh"])
@torch.no_grad()
def test_particles_average_to_log_p_of_x_and_the_bound_is_below_it(kind: Any, weight: Tensor, noise: float) -> None:
    torch.manual_seed(0)
    pair = with_normal_posterior(kind, weight, noise)
    x = torch.tensor([[0.5, -1.0, 0.8], [2.5, 0.3, -1.5], [-6.0, 3.0, 0.0]]).double()[:, : len(weight)]
    log_w = ppgen.log_weights(pair, (x,), num_particles=20_000)  # (K, B)
    exact, estimate = by_quadrature(pair, x), log_w.logsumexp(0) - math.log(20_000)
    error = (log_w - estimate).exp().std(0) / 20_000**0.5
    assert bool((error < 0.05).all())
    assert bool(((estimate - exact).abs() < 5 * error).all())  # a false alarm in a million, of each datum
    assert bool((log_w.mean(0) < exact).all())


@torch.no_grad()
def test_the_quadrature_is_right_where_log_p_of_x_is_known() -> None:
    """One Laplace source of one number: two exponentials, each the density of one with normal noise added."""
    pair = NoisyICA(DataSpec("numbers", 1, "real"), 1, noise=0.5).double()
    pair.weight.fill_(1.0)
    x = torch.linspace(-4, 4, 9).double().unsqueeze(-1)
    halves = [sign * x / 0.5 - 0.5 for sign in (1, -1)]  # sign x / v - v
    each = [torch.special.log_ndtr(half) - sign * x for half, sign in zip(halves, (1, -1), strict=True)]
    closed = torch.logaddexp(*each).squeeze(-1) + 0.5**2 / 2 - math.log(2)
    torch.testing.assert_close(by_quadrature(pair, x), closed, atol=1e-8, rtol=0)  # beyond 20 lies exp(-20) = 2e-9


@pytest.mark.thorough
def test_known_sources_are_separated_from_each_other_and_from_noise() -> None:
    data = load_data("mixed_sources", noise=0.1)
    torch.manual_seed(0)
    pair = NoisyICA(data.spec).double()
    assert data.mixing is not None
    mixing = data.mixing.double()
    assert amari_index(pair.unmixing, mixing) > 0.3
    fitted: dict[str, Any] = {"batch_size": 200, "lr": 0.02, "seed": 0, "progress": False, "eager": True}
    ppgen.fit(pair, data.train[0].double(), IWELBO(num_particles=10), steps=1_500, **fitted)
    assert amari_index(pair.unmixing, mixing) < 0.1


@pytest.mark.thorough
def test_logistic_sources_are_separated_from_principal_axes() -> None:
    data = load_data("mixed_sources", noise=0.1)
    torch.manual_seed(0)
    pair = NoisyICA(data.spec, sources="logistic", start="pca")
    fitted: dict[str, Any] = {"batch_size": 200, "lr": 0.02, "seed": 0, "progress": False}
    ppgen.fit(pair, data.train[0], IWELBO(num_particles=10), steps=3_000, **fitted)
    assert data.mixing is not None
    assert amari_index(pair.unmixing, data.mixing) < 0.05


VARIANCES = {"laplace": 2.0, "logistic": math.pi**2 / 3, "cosh": math.pi**2 / 4}


@pytest.mark.parametrize("number", [2, 4, 6])
@pytest.mark.parametrize("kind", list(VARIANCES))
@torch.no_grad()
def test_normal_sources_of_the_start_at_principal_axes_explain_the_data(kind: Any, number: int) -> None:
    torch.manual_seed(0)
    x = (
        torch.randn(300, 4).double()
        @ torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5])).double()
        @ torch.randn(4, 4).double()
    )
    pair: Any = NoisyICA(DataSpec("numbers", 4, "real"), number, sources=kind, start="pca", noise=0.3).double()
    assert pair.waits_for_data
    pair.start_from(x, seed=0)
    again = [value.clone() for value in pair.parameters()]
    pair.start_from(x, seed=0)
    assert all(torch.equal(one, other) for one, other in zip(pair.parameters(), again, strict=True))
    assert not pair.waits_for_data
    closed = LinearGaussian(DataSpec("numbers", 4, "real"), min(number, 3)).double()
    closed.set_closed_form(x)
    explained = VARIANCES[kind] * pair.weight @ pair.weight.T
    if number == 2:
        axes = torch.linalg.svd(closed.weight).U[:, :2]
        torch.testing.assert_close(explained, axes @ axes.T @ x.T.cov(correction=0) @ axes @ axes.T)
        torch.testing.assert_close(pair.log_noise, closed.log_noise)
    else:
        torch.testing.assert_close(explained, x.T.cov(correction=0))
        assert float(pair.log_noise.exp()) == pytest.approx(0.3)
    torch.testing.assert_close(pair.loc, x.mean(0))
    same = LinearGaussian(DataSpec("numbers", 4, "real"), number).double()  # of sources of variance one
    deviation = VARIANCES[kind] ** 0.5
    same.put({"weight": deviation * pair.weight, "loc": pair.loc, "log_noise": pair.log_noise})
    exact = same.posterior(x[:5])
    torch.testing.assert_close(pair.sources(x[:5]), deviation * exact.loc)
    found = gaussian(pair.guide_loc, pair.guide_scale).covariance_matrix
    torch.testing.assert_close(found, deviation**2 * exact.covariance_matrix[0])


def test_training_begins_at_the_start_that_is_asked_for() -> None:
    x = torch.randn(50, 3) @ torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    pair, other = (NoisyICA(DataSpec("numbers", 3, "real"), start=start) for start in ("pca", "random"))
    before = other.weight.detach().clone()
    for one in (pair, other):
        ppgen.fit(one, x, IWELBO(), steps=1, lr=1e-6, seed=0, progress=False, eager=True)
    torch.testing.assert_close(2 * pair.weight @ pair.weight.T, x.T.cov(correction=0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(other.weight, before, atol=1e-5, rtol=0)


def test_an_index_is_of_as_many_sources_as_are_known() -> None:
    data = load_data("mixed_sources", num_data=100)
    results = [evaluate(NoisyICA(data.spec, k), data, particles=1, progress=False) for k in (2, 3)]
    assert ["amari_index" in {measure.name for measure in found.measures} for found in results] == [False, True]


def test_added_noise_has_its_deviation() -> None:
    quiet, noisy = (load_data("mixed_sources", num_data=5_000, noise=noise) for noise in (0.0, 0.5))
    torch.testing.assert_close((noisy.train[0] - quiet.train[0]).std(0), torch.full((3,), 0.5), atol=0.025, rtol=0)


def test_what_is_not_real_is_refused() -> None:
    with pytest.raises(UsageError, match="NoisyICA needs real data"):
        NoisyICA(DataSpec("bits", 3, "binary"))


def test_data_without_a_maximum_are_refused() -> None:
    x = torch.randn(50, 2) @ torch.randn(2, 4)
    with pytest.raises(UsageError, match=r"they lie in 2 of 4 dimensions, which 3 sources explain .*latent_dim=1\)"):
        ppgen.fit(NoisyICA(DataSpec("numbers", 4, "real"), 3), x, IWELBO(), steps=1, progress=False)
    assert not NoisyICA(DataSpec("numbers", 4, "real"), 1).advice_on(x)
    assert not NoisyICA(DataSpec("numbers", 4, "real"), 6).advice_on(torch.randn(50, 4))
