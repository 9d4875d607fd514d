"""The jackknife against its definition, and its bias against that of weights whose logarithms have known means."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ppgen.errors import UsageError
from ppgen.inference import IWELBO, JVI
from tests.inference.truth import error_of_mean, jackknife

SHAPE = 0.7
"""Of gamma weights: E log of a mean of K of them is digamma(K shape) - log K, the logarithm of their mean log shape."""


def bias(particles: int) -> float:
    """That of the importance-weighted bound of K gamma weights, exact, in nats."""
    size = torch.tensor(particles * SHAPE, dtype=torch.float64)
    return float(torch.digamma(size) - size.log())


def of_jackknife(particles: int, order: int) -> float:
    """The bias of the jackknife, from Nowozin's table of its coefficients."""
    k = particles
    if order == 1:
        return k * bias(k) - (k - 1) * bias(k - 1)
    return k**2 / 2 * bias(k) - (k - 1) ** 2 * bias(k - 1) + (k - 2) ** 2 / 2 * bias(k - 2)


@pytest.mark.parametrize(("particles", "order"), [(2, 1), (6, 1), (3, 2), (6, 2)])
def test_it_is_the_jackknife_of_its_definition(particles: int, order: Any) -> None:
    log_w = 2 * torch.randn(particles, 5, dtype=torch.float64)
    found = JVI(num_particles=particles, order=order).reduce(log_w)
    torch.testing.assert_close(found, jackknife(order)(log_w), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_its_bias_is_that_of_the_coefficients_and_below_the_bounds(order: Any) -> None:
    log_w = torch.distributions.Gamma(torch.tensor(SHAPE, dtype=torch.float64), 1.0).sample((6, 100_000)).log()
    off = JVI(num_particles=6, order=order).reduce(log_w) - math.log(SHAPE)
    assert abs(float(off.mean()) - of_jackknife(6, order)) < 4 * error_of_mean(off)
    of_bound = IWELBO(num_particles=6).reduce(log_w) - math.log(SHAPE)
    assert abs(float(off.mean())) + 4 * error_of_mean(off) < abs(float(of_bound.mean())) / 2


def test_each_order_takes_the_bias_down_by_a_power_of_the_particles() -> None:
    for order in (1, 2):
        fall = of_jackknife(64, order) / of_jackknife(128, order)
        assert fall > 0.95 * 2 ** (order + 1)  # of order 2 by 16: these weights have no term in K^-3


def test_no_more_particles_than_are_left_out_are_refused() -> None:
    assert JVI(num_particles=2).min_particles == 2
    with pytest.raises(UsageError, match="num_particles of JVI"):
        JVI(num_particles=2, order=2)
    with pytest.raises(UsageError, match="order of JVI"):
        JVI(order=3)  # type: ignore[arg-type]
