"""Linear pairs beside principal components, and an unmixing beside the mixing that data carry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.decomposition import PCA

import ppgen
from ppgen.data import Dataset, DataSpec, load_data
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.evaluation.amari import amari_index
from ppgen.models import ICA, FactorAnalysis, LinearGaussian, SparseCoding


def measures(pair: Any, data: Dataset, **options: Any) -> dict[str, float]:
    found = evaluate(pair, data, particles=1, progress=False, **options).measures
    return {measure.name: measure.value for measure in found}


def test_the_closed_form_of_probabilistic_pca_spans_the_principal_components() -> None:
    data = load_data("linear_gaussian", num_features=6, latent_dim=3, num_data=300)
    pair = LinearGaussian(data.spec, 2).double()
    pair.set_closed_form(data.train[0].double())
    found = measures(pair.float(), data)
    assert found["subspace_angle"] < 0.05  # degrees; parameters are float32
    train, test = (part[0].double().numpy() for part in (data.train, data.test))
    peer = PCA(2).fit(train)
    left = test - peer.inverse_transform(peer.transform(test))
    wanted = 1 - (left**2).sum() / ((test - peer.mean_) ** 2).sum()
    assert found["explained_variance_of_pca"] == pytest.approx(wanted)
    assert found["explained_variance"] == pytest.approx(wanted, abs=1e-5)


def test_axes_that_are_not_principal_are_told_by_their_angle() -> None:
    x = torch.randn(50, 3) * torch.tensor([3.0, 2.0, 0.1])
    data = ppgen.dataset_from({"train": x, "test": x})
    pair = FactorAnalysis(data.spec, 1)
    with torch.no_grad():
        pair.weight.copy_(torch.tensor([[0.0], [0.0], [2.0]]))
    found = measures(pair, data)
    assert found["explained_variance"] < 0.01 < 0.5 < found["explained_variance_of_pca"]
    assert found["subspace_angle"] > 85


def test_as_many_columns_as_numbers_have_no_such_measures() -> None:
    data = load_data("linear_gaussian", num_features=3, num_data=50)
    assert "subspace_angle" not in measures(SparseCoding(data.spec, 5), data)


def test_an_unmixing_stands_beside_the_mixing_of_the_data() -> None:
    data = load_data("mixed_sources", num_data=500)
    assert data.mixing is not None
    pair = ICA(data.spec)
    assert measures(pair, data)["amari_index"] == pytest.approx(amari_index(torch.eye(3), data.mixing))
    with torch.no_grad():
        pair.unmixing.copy_(torch.linalg.inv(data.mixing)[[2, 0, 1]])
    assert measures(pair, data)["amari_index"] < 1e-5
    assert "amari_index" not in measures(ICA(data.spec), ppgen.dataset_from(data.train[0]))


@pytest.mark.parametrize("source", ["laplace", "logistic", "uniform"])
def test_sources_have_a_variance_of_one_and_are_independent(source: str) -> None:
    data = load_data("mixed_sources", source=source, num_data=20_000)
    assert data.mixing is not None
    s = data.train[0] @ torch.linalg.inv(data.mixing).T
    torch.testing.assert_close(s.T.cov(), torch.eye(3), atol=0.08, rtol=0)  # 5 standard errors of a Laplace's variance
    torch.testing.assert_close(data.mixing.norm(dim=0), torch.ones(3))


def test_a_mixing_of_another_size_is_refused() -> None:
    x = torch.randn(9, 3)
    with pytest.raises(UsageError, match=r"the mixing of data 'own' must be \(3, 3\), got \(2, 2\)"):
        Dataset(DataSpec("own", 3, "real"), train=(x,), mixing=torch.eye(2))
