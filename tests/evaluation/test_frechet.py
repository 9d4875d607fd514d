"""The Frechet distance: exact on normal distributions, and its bias with the number of samples."""

import math

import pytest
import torch

from ppgen.errors import UsageError
from ppgen.evaluation import frechet_distance, frechet_of_normals


def spd(size: int) -> torch.Tensor:
    """A covariance whose axes are anywhere."""
    a = torch.randn(size, size, dtype=torch.float64)
    return a @ a.T + torch.eye(size, dtype=torch.float64)


def test_of_normals_with_the_same_axes_it_is_that_of_means_and_standard_deviations() -> None:
    mean, sd = torch.randn(2, 4, dtype=torch.float64), torch.rand(2, 4, dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    covariances = [axes @ torch.diag(one.square()) @ axes.T for one in sd]
    truth = float((mean[0] - mean[1]).square().sum() + (sd[0] - sd[1]).square().sum())
    assert frechet_of_normals(mean[0], covariances[0], mean[1], covariances[1]) == pytest.approx(truth, rel=1e-10)


def test_of_other_axes_it_is_the_formula_by_another_root() -> None:
    """tr (S_1 S_2)^{1/2} is the sum of the roots of the eigenvalues of S_1 S_2, which is not symmetric."""
    one, two = spd(5), spd(5)
    roots = torch.linalg.eigvals(one @ two).sqrt().real.sum()
    truth = float(one.trace() + two.trace() - 2 * roots)
    zero = torch.zeros(5, dtype=torch.float64)
    assert truth > 0.1
    assert frechet_of_normals(zero, one, zero, two) == pytest.approx(truth, rel=1e-9)
    assert frechet_of_normals(zero, one, zero, one) == pytest.approx(0.0, abs=1e-9)


def test_two_hundred_features_of_a_hundred_data_have_a_distance() -> None:
    x = torch.randn(100, 200)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-4)
    assert frechet_distance(x, x + 2.0) == pytest.approx(800.0, rel=1e-4)  # means alone differ, by 2 in each


def test_it_errs_upward_as_one_over_the_number_of_samples() -> None:
    """In one dimension, p = q = N(0, 1): E d^2 = 2/n + E(s_1 - s_2)^2, and Var s is 1 / 2n: 3/n to first order; a mean
    over 500 pairs, whose relative error is 0.07: a tolerance of 4 of these."""
    for n in (50, 200):
        x, y = torch.randn(2, 500, n, 1, dtype=torch.float64)
        mean = sum(frechet_distance(*pair) for pair in zip(x, y, strict=True)) / 500
        assert mean * n == pytest.approx(3.0, rel=0.28)


def test_what_has_no_distance_is_refused() -> None:
    x = torch.randn(5, 3)
    with pytest.raises(UsageError, match=r"at least 2 data each, got \(5, 3\) and \(1, 3\)"):
        frechet_distance(x, x[:1])
    with pytest.raises(UsageError, match="not finite"):
        frechet_distance(x, x * math.nan)
