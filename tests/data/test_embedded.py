"""The data sets that need no file: fixed splits, and a synthetic truth that its data agrees with."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ppgen.data import SPLITS, Dataset, linear_gaussian_truth, load_data
from ppgen.errors import UsageError

HASHES = {
    "dynamic": "8d018688bae7ec7e41425d507dad02573b7740a3f721efec89ade134e199732a",
    "threshold": "f3cb08bd5151ef802c9da5673309ba38943f645a515f3cd627c9193842b25af3",
    "none": "d4f05e6be85bc6e587d7937e4ce9777dddc992bfce91f719f9f3b1e992defff2",
}


def sizes(data: Dataset) -> tuple[int, ...]:
    return tuple(len(data.split(name)[0]) for name in SPLITS)


@pytest.mark.parametrize("binarize", HASHES)
def test_digits_never_change(binarize: str) -> None:
    data = load_data("digits", binarize=binarize)
    assert sizes(data) == (1297, 200, 300)
    assert data.sha256 == HASHES[binarize]


def test_digits_split_is_a_partition_of_the_documented_permutation() -> None:
    grey, digit = load_digits(return_X_y=True)
    data = load_data("digits", binarize="none", labels=True)
    x = torch.cat([data.split(name)[0] for name in SPLITS]) * 16
    y = torch.cat([data.split(name)[1] for name in SPLITS])
    order = np.random.RandomState(0).permutation(1797)
    assert np.array_equal(x.round().numpy(), grey[order])
    assert np.array_equal(y.numpy(), digit[order])
    assert (data.spec.num_classes, data.spec.levels, data.spec.observation) == (10, 17, "quantised")


def test_digits_are_dynamic_in_train_and_fixed_where_they_are_evaluated() -> None:
    data, grey = load_data("digits"), load_data("digits", binarize="none")
    assert data.dynamic
    assert torch.equal(data.train[0], grey.train[0])
    for split in ("valid", "test"):
        x, p = data.split(split)[0], grey.split(split)[0]
        assert set(x.flatten().tolist()) == {0.0, 1.0}
        assert torch.all(x[p == 0] == 0)
        assert torch.all(x[p == 1] == 1)
        z = (x - p).sum() / (p * (1 - p)).sum().sqrt()
        assert abs(z) < 4  # the draw is fixed: passes or fails for good


def test_digits_mean_and_size_are_those_of_train() -> None:
    data = load_data("digits")
    assert data.spec.mean is not None
    assert torch.equal(data.spec.mean, data.train[0].mean(0))
    assert data.spec.num_data == 1297


def test_digits_threshold_is_static() -> None:
    data, grey = load_data("digits", binarize="threshold"), load_data("digits", binarize="none")
    assert not data.dynamic
    assert torch.equal(data.test[0], (grey.test[0] > 0.5).float())


def test_digits_refuse_an_unknown_binarization() -> None:
    with pytest.raises(UsageError, match="unknown binarize 'treshold': did you mean 'threshold'"):
        load_data("digits", binarize="treshold")


def test_linear_gaussian_has_the_moments_of_its_truth() -> None:
    options: dict[str, Any] = {"num_features": 4, "latent_dim": 2, "noise": 0.3, "seed": 5}
    truth, n = linear_gaussian_truth(**options), 40_000
    x = load_data("linear_gaussian", num_data=n, **options).train[0]
    covariance = truth.weight @ truth.weight.T + 0.09 * torch.eye(4)
    scale = covariance.diag().sqrt()
    assert ((x.mean(0) - truth.loc) / scale).abs().max() < 5 / n**0.5  # 5 standard errors
    error = (torch.cov(x.T) - covariance) / (scale[:, None] * scale)
    assert error.abs().max() < 5 * (2 / n) ** 0.5  # a covariance's standard error is at most sqrt(2 / n)


def test_linear_gaussian_truth_scores_its_data_at_minus_its_entropy() -> None:
    truth, n = linear_gaussian_truth(num_features=4), 10_000
    x = load_data("linear_gaussian", num_features=4, num_data=n).train[0]
    covariance = truth.weight @ truth.weight.T + 0.25 * torch.eye(4)
    normal: Any = torch.distributions.MultivariateNormal(truth.loc, covariance)
    log_prob = truth.log_prob(x)
    torch.testing.assert_close(log_prob, normal.log_prob(x), rtol=1e-4, atol=1e-3)  # float32 inverses
    assert abs(log_prob.mean() + normal.entropy()) < 4 * (4 / 2 / n) ** 0.5  # variance of log p is D / 2


def test_linear_gaussian_options_change_the_data() -> None:
    base = load_data("linear_gaussian", num_data=50)
    assert sizes(base) == (50, 10, 10)
    for change in ({"num_features": 3}, {"latent_dim": 1}, {"noise": 1.0}, {"seed": 1}, {"num_data": 51}):
        assert load_data("linear_gaussian", **({"num_data": 50} | change)).sha256 != base.sha256
    assert load_data("linear_gaussian", num_data=50).sha256 == base.sha256


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_features", 0),
        ("latent_dim", 1.5),
        ("num_data", -1),
        ("seed", -1),
        ("noise", 0),
        ("noise", "big"),
        ("noise", float("inf")),
    ],
)
def test_linear_gaussian_refuses(option: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{option} must be .*got {value!r}"):
        load_data("linear_gaussian", **{option: value})


def test_dequantised_digits_are_in_the_cells_of_their_levels_anew_each_time() -> None:
    data, grey = load_data("digits", binarize="dequantise"), load_data("digits", binarize="none")
    assert (data.spec.observation, data.spec.levels, data.spec.dequantised) == ("real", 17, True)
    (x,), levels = data.draw(data.train), (grey.train[0] * 16).round()
    place = x * 17 - levels  # u, up to rounding
    assert place.min() > -1e-4
    assert place.max() < 1 + 1e-4
    assert abs(place.mean() - 0.5) < 4 * (1 / 12 / place.numel()) ** 0.5
    assert not torch.equal(x, data.draw(data.train)[0])
    for split in ("train", "valid", "test"):
        stored = data.split(split)[0] * 17 - (grey.split(split)[0] * 16).round()
        assert -1e-4 < stored.min() < stored.max() < 1 + 1e-4
