"""Mixtures against sums by hand, torch's own mixtures, Pyro's enumeration, and scikit-learn's EM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

import ppgen
from ppgen.data import DataSpec
from ppgen.distributions.components import Bernoullis, Chosen, Components, DiagonalGaussians, FullGaussians
from ppgen.errors import UsageError
from ppgen.evaluation import bounds, evaluate
from ppgen.models import GMM
from ppgen.pairs.log_weights import log_weight_chunks

REAL, BINARY = DataSpec("points", 3, "real", num_data=400), DataSpec("bits", 3, "binary", num_data=40)
X, CLASS = make_blobs(400, centers=[[0.0, 0.0, 0.0], [5.0, 0.0, 1.0], [0.0, 5.0, 5.0]], random_state=0)
X = X @ np.array([[1.0, 0.3, 0.0], [0.0, 1.0, 0.4], [0.2, 0.0, 0.5]])
ONE_OF_EACH = X[[int(np.flatnonzero(c == CLASS)[0]) for c in range(3)]]
VARIANCE = float(X.var(0).mean())
ROUND: dict[str, Any] = {"diagonal": np.full((3, 3), VARIANCE), "full": np.stack([np.eye(3) * VARIANCE] * 3)}


def negative_evidence(pair: GMM, x: Tensor, num_particles: int = 1) -> Tensor:
    """Minus Pyro's own bound with the assignments summed, in nats, of all data."""
    vectorized = num_particles > 1
    elbo = TraceEnum_ELBO(max_plate_nesting=1, num_particles=num_particles, vectorize_particles=vectorized)
    return elbo.differentiable_loss(pair.model, pair.guide, x)  # type: ignore[no-any-return]


def moved(pair: GMM) -> GMM:
    """The pair in float64 with every parameter off its initial value."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in pair.double().parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return pair


def peer(pair: GMM) -> MixtureSameFamily:
    """torch's own mixture at the pair's parameters."""
    means, covariances = pair.means.detach(), pair.covariances
    weights = Categorical(pair.weights.detach())
    if covariances is None:
        return MixtureSameFamily(weights, Independent(Bernoulli(means), 1))
    if covariances.dim() == 2:
        return MixtureSameFamily(weights, Independent(Normal(means, covariances.detach().sqrt()), 1))
    return MixtureSameFamily(weights, MultivariateNormal(means, covariances.detach()))


@pytest.mark.parametrize(("spec", "covariance"), [(REAL, "diagonal"), (REAL, "full"), (BINARY, "diagonal")])
def test_the_evidence_is_that_of_torchs_mixture_and_of_pyros_enumeration(spec: DataSpec, covariance: Any) -> None:
    pair = moved(GMM(spec, 4, covariance=covariance))
    x = torch.rand(6, 3, dtype=torch.float64).round()
    expected = peer(pair).log_prob(x)
    torch.testing.assert_close(pair.log_evidence(x), expected)
    scaled = -negative_evidence(pair, x).item() * 6 / (spec.num_data or 6)
    assert scaled == pytest.approx(float(expected.sum()), rel=1e-12)


def test_the_evidence_of_a_datum_is_the_sum_by_hand() -> None:
    pair = GMM(DataSpec("one", 1, "real"), 2).double()
    pair.start_at([[0.0], [2.0]], [[1.0], [4.0]], [0.25, 0.75])
    x = torch.tensor([[1.0]], dtype=torch.float64)
    densities = [math.exp(-0.5) / math.sqrt(2 * math.pi), math.exp(-0.125) / math.sqrt(8 * math.pi)]
    assert pair.log_evidence(x).item() == pytest.approx(math.log(0.25 * densities[0] + 0.75 * densities[1]), abs=1e-12)
    assert pair.responsibilities(x)[0, 0].item() == pytest.approx(
        0.25 * densities[0] / (0.25 * densities[0] + 0.75 * densities[1]), abs=1e-12
    )


def optimum(pair: GMM, x: Tensor) -> float:
    """The mean log-likelihood in nats where L-BFGS on the exact evidence ends."""
    parameters = list(pair.parameters())
    optimizer = torch.optim.LBFGS(parameters, max_iter=300, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = negative_evidence(pair, x) / len(x)
        loss.backward()
        return loss

    with pyro.validation_enabled(False):
        optimizer.step(closure)
    return pair.log_evidence(x).mean().item()


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_training_from_scikit_learns_start_ends_where_its_em_does(covariance: Any) -> None:
    """Both stop where the gradient is below 1e-7 and the gain below 1e-10: nats agree to 1e-6 with room to spare."""
    inverse = 1 / ROUND["diagonal"] if covariance == "diagonal" else np.linalg.inv(ROUND["full"])
    em = GaussianMixture(
        3,
        covariance_type="diag" if covariance == "diagonal" else "full",
        weights_init=np.full(3, 1 / 3),
        means_init=ONE_OF_EACH,
        precisions_init=inverse,
        max_iter=10_000,
        tol=1e-10,
        reg_covar=0,
    ).fit(X)
    pair = GMM(REAL, 3, covariance=covariance).double()
    pair.start_at(ONE_OF_EACH, ROUND[covariance], np.full(3, 1 / 3))
    assert optimum(pair, torch.as_tensor(X)) == pytest.approx(em.score(X), abs=1e-6)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_fitted_mixture_of_scikit_learn_can_be_taken_over(covariance: Any) -> None:
    kind = "diag" if covariance == "diagonal" else "full"
    em = GaussianMixture(3, covariance_type=kind, means_init=ONE_OF_EACH).fit(X)
    pair, x = GMM(REAL, 3, covariance=covariance).double(), torch.as_tensor(X)
    pair.start_at(em.means_, em.covariances_, em.weights_)
    assert np.allclose(pair.log_evidence(x).detach(), em.score_samples(X), rtol=1e-10)
    assert np.allclose(pair.responsibilities(x).detach(), em.predict_proba(X), atol=1e-10)
    assert np.allclose(pair.covariances.detach(), em.covariances_)  # type: ignore[union-attr]


@pytest.mark.parametrize("num_particles", [None, 4])
@pytest.mark.parametrize("family", [DiagonalGaussians, FullGaussians, Bernoullis])
def test_a_chosen_component_is_the_distribution_itself(family: type[Components], num_particles: int | None) -> None:
    lead = () if num_particles is None else (num_particles,)
    locs = torch.randn(*lead, 3, 2)
    scales = {DiagonalGaussians: torch.rand(*lead, 3, 2), FullGaussians: torch.randn(*lead, 3, 2, 2)}.get(family)
    components = family(locs, None if scales is None else family.constrained(scales))
    x = torch.rand(5, 2).round()
    for c in (torch.randint(3, (4, 5)), torch.arange(3).reshape(3, 1, 1).expand(3, 4, 5)):
        chosen, itself = Chosen(components, c), components.at(c)
        torch.testing.assert_close(chosen.log_prob(x), itself.log_prob(x))
        torch.testing.assert_close(chosen.mean, itself.mean)
        assert chosen.sample().shape == (*c.shape, 2)


@pytest.mark.parametrize("family", [DiagonalGaussians, FullGaussians, Bernoullis])
def test_a_single_index_chooses_one_component(family: type[Components]) -> None:
    locs = torch.randn(3, 2)
    scales = {DiagonalGaussians: torch.rand(3, 2), FullGaussians: torch.eye(2).expand(3, 2, 2)}.get(family)
    chosen = Chosen(family(locs, scales), torch.tensor(1))
    torch.testing.assert_close(chosen.mean, family(locs, scales).means[1])
    assert chosen.sample().shape == (2,)


@pytest.mark.parametrize("spec", [REAL, BINARY], ids=["real", "binary"])
def test_latent_components_of_particles_are_those_of_single_runs(spec: DataSpec) -> None:
    """Their mean over 200 runs each, within 4.5 standard errors of the difference (false alarms: 1 in 150,000)."""
    pair = GMM(spec, 3, bayesian=True, scale=0.5)
    x = torch.rand(4, 3).round()
    with pyro.validation_enabled(False):
        together = torch.stack([negative_evidence(pair, x, 10).detach() for _ in range(20)])
        alone = torch.stack([negative_evidence(pair, x).detach() for _ in range(200)])
    error = (together.var() / 20 + alone.var() / 200).sqrt()
    assert (together.mean() - alone.mean()).abs() < 4.5 * error


def test_the_guide_of_latent_components_is_centred_where_it_is_told() -> None:
    pair = GMM(REAL, 2, bayesian=True)
    means, variances, weights = torch.randn(2, 3), torch.rand(2, 3) + 0.5, torch.tensor([0.2, 0.8])
    pair.start_at(means, variances, weights)
    torch.testing.assert_close(pair.means, means)
    torch.testing.assert_close(pair.covariances, variances)
    assert pair.weights[0].item() == pytest.approx((1 + 400 * 0.2) / (2 + 400), rel=1e-5)  # the prior's counts, too


@pytest.mark.parametrize(("spec", "covariance"), [(REAL, "diagonal"), (REAL, "full"), (BINARY, "diagonal")])
def test_components_start_apart_around_the_mean_of_the_data(spec: DataSpec, covariance: Any) -> None:
    mean = torch.tensor([0.2, 0.5, 0.7])
    spec = DataSpec(spec.name, 3, spec.observation, mean=mean)
    pair = GMM(spec, 2000, covariance=covariance, scale=0.1)
    torch.testing.assert_close(pair.means.mean(0), mean, rtol=0, atol=0.02)  # 9 standard errors, of 0.1 / sqrt(2000)
    assert pair.means.std(0).min() > 0.01


@pytest.mark.parametrize(
    ("spec", "options", "sentence"),
    [
        (DataSpec("words", 3, "counts"), {}, "GMM needs real or binary data, but data 'words' are counts"),
        (REAL, {"covariance": "diag"}, "covariance must be 'diagonal' or 'spherical' or 'full' or 'tied', got 'diag'"),
        (REAL, {"covariance": "full", "bayesian": True}, "covariance='full' is for parameters"),
        (REAL, {"num_components": 0}, "num_components must be a whole number of at least 1, got 0"),
        (REAL, {"scale": -1.0}, "scale must be a number above 0"),
        (REAL, {"concentration": 0}, "concentration must be a number above 0"),
    ],
)
def test_bad_arguments_are_refused(spec: DataSpec, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        GMM(spec, **options)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("spec", "start", "sentence"),
    [
        (REAL, {"means": torch.zeros(2, 3)}, r"means must have shape \(3, 3\), got \(2, 3\)"),
        (REAL, {"means": torch.zeros(3, 3), "covariances": torch.zeros(3, 3)}, "variances must be positive"),
        (REAL, {"means": torch.zeros(3, 3), "weights": [0.5, 0.5, 0]}, "weights must be positive, and the least is 0"),
        (BINARY, {"means": torch.ones(3, 3), "covariances": torch.ones(3, 3)}, "binary data have no covariances"),
    ],
)
def test_a_start_that_is_none_is_refused(spec: DataSpec, start: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        GMM(spec, 3).start_at(**start)


def test_a_covariance_that_is_none_is_refused() -> None:
    pair, covariances = GMM(REAL, 3, covariance="full"), torch.stack([torch.eye(3), -torch.eye(3), torch.eye(3)])
    with pytest.raises(UsageError, match="covariance 1 is not positive definite"):
        pair.start_at(torch.zeros(3, 3), covariances)


@pytest.mark.parametrize(("bayesian", "method", "runs"), [(False, "exact", 1), (True, "bound", 20)])
def test_evaluation_runs_one_particle_where_nothing_is_drawn(
    bayesian: bool, method: str, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With components that are latents of all data, each particle has its own: the number is a bound."""
    seen: list[int] = []

    def counted(pair: Any, batch: Any, num: int, **options: Any) -> Any:
        seen.append(num)
        return log_weight_chunks(pair, batch, num, **options)

    monkeypatch.setattr(bounds, "log_weight_chunks", counted)
    data = ppgen.dataset_from(torch.randn(40, 2))
    found = evaluate(GMM(data.spec, 3, bayesian=bayesian), data, particles=20)
    assert (found.method, seen) == (method, [runs])
