"""The chi upper bound: above the evidence, its guide's gradient that of the bound, its model's the lower bound's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import CUBO, IWELBO
from tests.doubles import Line
from tests.inference.mutants import UpperBoundOfShares
from tests.inference.truth import (
    CRITICAL,
    Parameters,
    X,
    elbo,
    error_of_mean,
    exact_gradient,
    expectation,
    gradient_draws,
    line_log_w,
    value_draws,
)

PARTICLES, COPIES = 2000, 200
MODEL, GUIDE = ("weight", "loc", "log_noise"), ("slope", "shift", "log_scale")


def exact(order: float, parameters: Parameters) -> Tensor:
    """(1/n) log E w^n, by quadrature."""
    power = expectation(lambda p, e: (order * line_log_w(p, e)).exp(), elbo, parameters, particles=1)
    return power.log() / order


def log_evidence() -> float:
    return float(Line().log_evidence(torch.tensor([[X]], dtype=torch.float64)).detach())


@pytest.mark.parametrize("order", [1.5, 2.0])
def test_its_value_is_the_upper_bound_above_the_evidence(order: float) -> None:
    upper = float(exact(order, Line().state_dict()))
    draws = value_draws(CUBO(num_particles=PARTICLES, order=order), Line(), COPIES)
    assert float(draws.mean()) == pytest.approx(upper, abs=4 * error_of_mean(draws) + 2e-3)  # of order 1 / K
    assert float(draws.mean()) - 4 * error_of_mean(draws) > log_evidence()
    assert not CUBO().is_bound


def off(objective: Any, order: float) -> float:
    """How far the mean of the guide's gradient is from minus that of the bound, in standard errors, at most.

    A hundredth of the gradient is granted for the bias of order 1 / K.
    """
    expected = exact_gradient(lambda p: exact(order, p), Line())
    draws = gradient_draws(objective, Line(COPIES))
    return max(
        (abs(float(draws[name].mean()) + expected[name]) - 0.01 * abs(expected[name])) / error_of_mean(draws[name])
        for name in GUIDE
    )


def test_the_guide_descends_the_upper_bound() -> None:
    for order in (1.5, 2.0):
        assert off(CUBO(num_particles=PARTICLES, order=order), order) < CRITICAL
    assert off(UpperBoundOfShares(num_particles=PARTICLES), 2.0) > CRITICAL


def test_the_models_gradient_is_that_of_the_importance_weighted_bound_draw_by_draw() -> None:
    found: list[dict[str, Tensor]] = []
    for objective in (CUBO(num_particles=4), IWELBO(num_particles=4)):
        torch.manual_seed(0)
        found.append(gradient_draws(objective, Line(10)))
    for name in MODEL:
        torch.testing.assert_close(found[0][name], found[1][name])


def test_every_draw_of_the_guides_gradient_is_zero_at_the_posterior() -> None:
    draws = gradient_draws(CUBO(num_particles=3), Line(100).land())
    assert max(float(draws[name].abs().max()) for name in GUIDE) < 1e-10


@pytest.mark.parametrize("options", [{"order": 1.0}, {"num_particles": 1}])
def test_an_order_or_particles_without_an_upper_bound_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="of CUBO"):
        CUBO(**options)
