"""Logarithms of Dirichlet shares against torch's Dirichlet where that is exact, and where it is not."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import beta, kstest
from torch.distributions import Dirichlet, kl_divergence

from ppgen.distributions.log_dirichlet import LogDirichlet

CONCENTRATION = torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64)


def test_draws_are_those_of_a_dirichlet() -> None:
    """Kolmogorov and Smirnov on each share's marginal, a Beta, at a false-alarm rate of 1e-5 each."""
    draws = LogDirichlet(CONCENTRATION).rsample((20_000,)).exp()
    torch.testing.assert_close(draws.sum(-1), torch.ones(20_000, dtype=torch.float64))
    for share, first in zip(draws.T, CONCENTRATION, strict=True):
        marginal = beta(float(first), float(CONCENTRATION.sum() - first))
        assert kstest(share.numpy(), marginal.cdf).pvalue > 1e-5


def test_the_density_is_the_dirichlets_times_all_shares() -> None:
    theta = Dirichlet(CONCENTRATION).sample((50,))
    expected = Dirichlet(CONCENTRATION).log_prob(theta) + theta.log().sum(-1)
    torch.testing.assert_close(LogDirichlet(CONCENTRATION).log_prob(theta.log()), expected)


def test_the_divergence_is_the_dirichlets() -> None:
    other = torch.tensor([1.0, 0.2, 4.0], dtype=torch.float64)
    expected = kl_divergence(Dirichlet(CONCENTRATION), Dirichlet(other))
    torch.testing.assert_close(kl_divergence(LogDirichlet(CONCENTRATION), LogDirichlet(other)), expected)


@pytest.mark.parametrize("of_shares", [False, True])
def test_the_pathwise_gradient_is_that_of_the_expectation(of_shares: bool) -> None:
    """E[y_1] and E[theta_1] in closed form, within 4.5 standard errors of 200,000 draws (false alarms: 1 in 24,000)."""
    a = CONCENTRATION.clone().requires_grad_()
    exact = a / a.sum() if of_shares else LogDirichlet(a).mean
    (expected,) = torch.autograd.grad(exact[0], a)
    many = CONCENTRATION.expand(200_000, 3).clone().requires_grad_()
    draws = LogDirichlet(many).rsample()
    (found,) = torch.autograd.grad((draws.exp() if of_shares else draws)[:, 0].sum(), many)
    assert ((found.mean(0) - expected).abs() < 4.5 * found.std(0) / 200_000**0.5).all()


def test_where_shares_underflow_log_weights_still_average_to_the_divergence() -> None:
    """Half of them do; within 4.5 standard errors of 100,000 draws (false alarms: 1 in 150,000)."""
    q, p = LogDirichlet(torch.full((20,), 0.008)), LogDirichlet(torch.full((20,), 0.01))
    draws = q.rsample((100_000,))
    assert torch.isfinite(draws).all()
    assert 0.4 < float((draws.exp() == 0).float().mean()) < 0.6
    log_w = q.log_prob(draws) - p.log_prob(draws)
    error = float(log_w.std()) / 100_000**0.5
    assert abs(float(log_w.mean() - kl_divergence(q, p))) < 4.5 * error


def test_parameters_expand_and_are_checked() -> None:
    wide = LogDirichlet(CONCENTRATION, validate_args=True).expand((4, 2))
    assert wide.rsample((5,)).shape == (5, 4, 2, 3)
    assert wide.log_prob(wide.sample()).shape == (4, 2)
    with pytest.raises(ValueError, match="support"):
        wide.log_prob(torch.zeros(4, 2, 3))


def test_the_bijection_from_the_reals_carries_the_density_without_a_jacobian() -> None:
    """exp(log p(T(u))) integrates to 1 over u in R^2, by the trapezoidal rule."""
    fn = LogDirichlet(torch.tensor([0.8, 1.5, 2.0], dtype=torch.float64))
    transform = torch.distributions.biject_to(fn.support)
    axis = torch.linspace(-40, 40, 1601, dtype=torch.float64)
    u = torch.cartesian_prod(axis, axis)
    y = transform(u)
    density = (fn.log_prob(y) + transform.log_abs_det_jacobian(u, y)).exp()
    assert float(density.sum()) * 0.05**2 == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(transform.inv(y), u)
    assert transform.inverse_shape(transform.forward_shape(torch.Size([5, 2]))) == torch.Size([5, 2])
