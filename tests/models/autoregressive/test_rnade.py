"""Mixtures of Gaussians in turn: normalised, sums of their conditionals, and a Gaussian where each is one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.models import RNADE


def bent(size: int = 2, by: float = 0.2, **options: Any) -> Any:
    """A pair in float64 whose parameters are moved at random."""
    torch.manual_seed(0)
    pair = RNADE(DataSpec("numbers", size, "real"), (7,), num_components=3, **options).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return pair


@torch.no_grad()
def test_the_density_integrates_to_one() -> None:
    """A sum over squares of 0.1, of components no narrower than 0.3, bent so little that 1e-5 is beyond 20."""
    pair = bent(by=0.05, order=[1, 0], min_scale=0.3)
    axis = torch.arange(-20, 20, 0.1).double()
    log_p = pair.distribution().log_prob(torch.cartesian_prod(axis, axis))
    assert float(log_p.exp().sum() * 0.1**2) == pytest.approx(1.0, abs=1e-4)


def test_log_p_is_the_sum_of_conditionals_that_are_shown_what_is_before() -> None:
    pair = bent(4, order=[2, 0, 3, 1])
    x, shown, total = torch.randn(5, 4).double(), torch.zeros(5, 4).double(), torch.zeros(5).double()
    with torch.no_grad():
        for feature in (2, 0, 3, 1):
            total += pair.conditionals(shown).log_prob(x)[:, feature]
            shown[:, feature] = x[:, feature]
        torch.testing.assert_close(total, pair.distribution().log_prob(x))


def correlated(num: int) -> Tensor:
    torch.manual_seed(1)
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.5, 0.5, 0.0], [-1.0, 0.3, 0.1]]).double()
    return torch.randn(num, 3).double() @ mixing.T + torch.tensor([5.0, 0.0, -3.0]).double()


def test_one_component_that_is_linear_in_those_before_is_the_gaussian_of_the_data() -> None:
    """Its maximum of likelihood is that of the covariance: parameters of regressions, in units of the data's spread."""
    x = correlated(500)
    pair: Any = RNADE(DataSpec("numbers", 3, "real"), (), num_components=1, min_scale=1e-9).double()
    pair.start_from(x, seed=0)
    u = (x - x.mean(0)) / x.std(0)
    with torch.no_grad():
        for i in range(3):
            found = torch.linalg.lstsq(u[:, :i], u[:, i]).solution if i else u.new_zeros(0)
            rest = u[:, i] - u[:, :i] @ found
            pair.conditionals.network.direct[1, i, :i] = found
            pair.conditionals.network.bias[2, i] = rest.square().mean().sqrt().log()
    normal = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov(correction=0))
    log_p = pair.distribution().log_prob(x)
    torch.testing.assert_close(log_p, normal.log_prob(x), atol=1e-6, rtol=0)


def test_training_begins_in_the_units_of_the_data() -> None:
    """Untrained it is a sum over standardised numbers, whatever their place and size."""
    x = correlated(200)
    pair: Any = RNADE(DataSpec("numbers", 3, "real"), (), num_components=4).double()
    assert pair.waits_for_data
    moved = 1e3 * x + 7.0
    pair.start_from(x, seed=0)
    before = pair.distribution().log_prob(x)
    pair.start_from(moved, seed=0)
    torch.testing.assert_close(pair.distribution().log_prob(moved), before - 3 * torch.tensor(1e3).double().log())
    assert not pair.waits_for_data


def test_samples_have_the_conditionals_means() -> None:
    """Of 20,000 draws, the mean of the first is that of its mixture: 5 standard errors, a chance of 6e-7."""
    pair = bent()
    law = pair.conditionals(torch.zeros(2).double())
    x = pair.distribution().sample((20_000,))
    off = (x[:, 0].mean() - law.mean[0].detach()) / (x[:, 0].std() / 20_000**0.5)
    assert abs(float(off)) < 5


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            DataSpec("grey", 4, "quantised", levels=17),
            "is a density of real data, and data 'grey' are grey levels",
        ),
        (DataSpec("bits", 4, "binary"), "needs real data, but data 'bits' are binary: of binary data take 'nade'"),
    ],
)
def test_other_data_are_refused(spec: DataSpec, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        RNADE(spec)


def test_an_order_that_is_no_permutation_is_refused() -> None:
    with pytest.raises(UsageError, match="order must hold each of the 2 features 0 to 1 once"):
        ppgen.make_pair("rnade", DataSpec("numbers", 2, "real"), order=[0, 0])
