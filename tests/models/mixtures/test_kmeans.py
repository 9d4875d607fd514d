"""k-means against scikit-learn's, step by step, and as the limit of mixtures whose variance goes to zero."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from sklearn.cluster import KMeans as Peer
from sklearn.datasets import make_blobs
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.inference import EM
from ppgen.models import GMM, KMeans

N, C, D = 150, 4, 3
X = (
    torch.as_tensor(make_blobs(N, centers=C, n_features=D, cluster_std=4.0, random_state=0)[0]) + 100.0
)  # far from the origin
START = X[:C].clone()
SPEC = DataSpec("points", D, "real", num_data=N, mean=X.mean(0).float())


def placed(**options: Any) -> KMeans:
    pair = KMeans(SPEC, C, **options).double()
    pair.start_at(START)
    return pair


def lloyds(steps: int) -> Peer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        return Peer(C, init=START.numpy(), n_init=1, algorithm="lloyd", max_iter=steps, tol=0).fit(X.numpy())


def trained(pair: Any, steps: int, *, hard: bool = True, batch_size: int = N) -> Any:
    ppgen.fit(pair, X, EM(hard=hard), epochs=steps, batch_size=batch_size, seed=0, progress=False)
    return pair


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
@pytest.mark.parametrize("batch_size", [N, 11])
def test_centres_and_inertia_are_scikit_learns_after_each_step(steps: int, batch_size: int) -> None:
    pair, peer = trained(placed(), steps, batch_size=batch_size), lloyds(steps)
    assert np.allclose(pair.centres.detach(), peer.cluster_centers_, rtol=0, atol=1e-10)
    assert float(pair.inertia(X)) == pytest.approx(peer.inertia_, rel=1e-10)
    assert np.array_equal(pair.assign(X), peer.predict(X.numpy()))


def test_inertia_never_rises() -> None:
    pair, inertias = placed(), []
    for _ in range(6):
        inertias.append(float(pair.inertia(X)))
        trained(pair, 1)
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[-1] < 0.9 * inertias[0]


def test_the_scale_is_that_of_the_greatest_likelihood_of_data_and_components() -> None:
    """s^2 = inertia / (N D), of the assignments that the step has seen."""
    pair = placed()
    centre_of = pair.assign(X)
    trained(pair, 1)
    left = (X - pair.centres.detach()[centre_of]).square().mean()
    assert float(pair.scale.detach()) == pytest.approx(float(left.sqrt()), rel=1e-10)


@pytest.mark.parametrize("scale", [None, 0.7])
def test_the_density_is_torchs_mixture_and_pyros_enumeration(scale: float | None) -> None:
    pair = placed(scale=scale)
    normals = Independent(Normal(pair.centres.detach(), float(pair.scale.detach())), 1)
    expected = MixtureSameFamily(Categorical(torch.ones(C, dtype=torch.float64)), normals).log_prob(X)
    torch.testing.assert_close(pair.log_evidence(X).detach(), expected, rtol=1e-9, atol=1e-9)
    with pyro.validation_enabled(False):
        loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(pair.model, pair.guide, X)
    assert -loss.item() == pytest.approx(float(expected.sum()), rel=1e-9)


def test_em_goes_to_k_means_as_the_variance_goes_to_zero() -> None:
    limit = trained(placed(scale=1.0), 10).centres.detach()
    away = [
        float((trained(placed(scale=s), 10, hard=False).centres.detach() - limit).abs().max()) for s in (4.0, 1.0, 0.05)
    ]
    assert away[0] > away[1] > away[2]
    assert away[2] < 1e-6 < away[0]


def test_a_step_of_em_of_gmm_goes_to_a_step_of_k_means_as_its_variances_go_to_zero() -> None:
    limit, away = lloyds(1).cluster_centers_, []
    for variance in (25.0, 1.0, 1e-3):
        pair = GMM(SPEC, C, covariance="spherical").double()
        pair.start_at(START, torch.full((C,), variance))
        away.append(float((trained(pair, 1, hard=False).means.detach() - torch.as_tensor(limit)).abs().max()))
    assert away[0] > away[1] > away[2]
    assert away[2] < 1e-10 < away[0]


def test_em_with_any_scale_never_lowers_the_evidence() -> None:
    for scale in (None, 3.0):
        pair, values = placed(scale=scale), []
        for _ in range(8):
            values.append(float(pair.log_evidence(X).detach().mean()))
            trained(pair, 1, hard=False)
        assert all(b >= a - 1e-12 for a, b in itertools.pairwise(values))


def test_evaluation_gives_the_inertia_per_datum() -> None:
    data = ppgen.data.dataset_from(X.float(), valid=0.0, test=0.2, seed=0)
    pair = KMeans(DataSpec("points", D, "real"), C)
    pair.start_at(lloyds(20).cluster_centers_)
    (x,) = data.test
    found = {measure.name: measure.value for measure in evaluate(pair, data, particles=2).measures}
    assert found["squared_error"] == pytest.approx(float(pair.inertia(x)) / len(x), rel=1e-5)


def test_a_far_start_leaves_a_centre_empty_and_says_so() -> None:
    pair = KMeans(SPEC, 2, start="mean").double()
    pair.start_at(torch.stack([X[0], X[0] + 1e4]))
    with pytest.raises(UsageError, match="centre 1 of 2 is left without data: take fewer components, or start them at"):
        trained(pair, 1)


def test_data_that_are_all_at_their_centres_are_refused_unless_the_scale_is_given() -> None:
    x = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    spec = DataSpec("two", 1, "real", num_data=3)

    def on(scale: float | None) -> KMeans:
        pair = KMeans(spec, 2, scale=scale).double()
        ppgen.fit(pair, x, EM(hard=True), epochs=2, batch_size=3, seed=0, progress=False)
        return pair

    with pytest.raises(UsageError, match="every datum is at its centre, so that the likelihood of the scale"):
        on(None)
    assert on(0.1).centres.detach().flatten().sort().values.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("spec", "num", "sentence"),
    [
        (DataSpec("bits", 3, "binary"), 2, "KMeans needs real data, but data 'bits' are binary: take 'gmm'"),
        (SPEC, N + 1, "num_components = 151 of KMeans, and there are 150 data: lower it"),
        (SPEC, 0, "num_components must be a whole number of at least 1, got 0"),
    ],
)
def test_what_cannot_be_clustered_is_refused(spec: DataSpec, num: int, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        KMeans(spec, num)


def test_centres_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"centres must have shape \(4, 3\), got \(2, 3\)"):
        KMeans(SPEC, C).start_at(torch.zeros(2, 3))


def test_the_table_is_exact_far_from_the_origin() -> None:
    """In float64, 1e6 away: squares of distances of about 1 to 1e-9, where those of the numbers have 1e-4."""
    x: Tensor = torch.randn(20, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1e6
    pair = KMeans(DataSpec("far", D, "real"), 2, scale=1.0).double()
    pair.start_at(x[:2])
    expected = torch.stack([Independent(Normal(centre, 1.0), 1).log_prob(x) for centre in x[:2]], -1)
    torch.testing.assert_close(pair.log_evidence(x).detach(), expected.logsumexp(-1) - np.log(2), rtol=0, atol=1e-8)
