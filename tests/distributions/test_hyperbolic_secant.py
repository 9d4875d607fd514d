"""The hyperbolic secant distribution: one in all, its moments, its draws, its score."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import hypsecant, kstest

from ppgen.distributions.hyperbolic_secant import HyperbolicSecant

LOC, SCALE = torch.tensor(1.5, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)


def test_its_density_is_scipys_far_out_too() -> None:
    at = torch.tensor([-400.0, -3.0, 0.0, 1.5, 2.0, 50.0], dtype=torch.float64)
    expected = torch.from_numpy(hypsecant.logpdf(at[1:].numpy(), loc=1.5, scale=0.7))
    torch.testing.assert_close(HyperbolicSecant(LOC, SCALE).log_prob(at)[1:], expected)
    far = math.log(2 / math.pi) - 401.5 / 0.7 - math.log(0.7)
    assert float(HyperbolicSecant(LOC, SCALE).log_prob(at[0])) == pytest.approx(far)


def test_its_draws_follow_it() -> None:
    """The Kolmogorov-Smirnov test, which errs once in a thousand seeds."""
    torch.manual_seed(0)
    draws = HyperbolicSecant(LOC, SCALE).expand([3]).sample((4_000,))
    assert draws.shape == (4_000, 3)
    assert kstest(draws.flatten().numpy(), hypsecant(loc=1.5, scale=0.7).cdf).pvalue > 1e-3


def test_its_moments_and_its_score() -> None:
    known, found = hypsecant(loc=1.5, scale=0.7), HyperbolicSecant(LOC, SCALE)
    assert float(found.mean) == pytest.approx(known.mean())
    assert float(found.variance) == pytest.approx(known.var())
    s = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    (score,) = torch.autograd.grad(HyperbolicSecant(LOC, SCALE).log_prob(s).sum(), s)
    torch.testing.assert_close(score, -((s.detach() - LOC) / SCALE).tanh() / SCALE)
