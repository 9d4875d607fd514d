"""Which estimator has less noise in the guide's gradient, where theory or its paper says so: the trace of a covariance.

Each estimate from 20,000 draws is good to a few percent, and each ordering is asked for with a tenth to spare.
"""

from __future__ import annotations

from typing import Any

import pytest

from ppgen.inference import ARM, OVIS, REBAR, REINFORCE, RELAX, VIMCO, DisARM, MuProp
from tests.discrete_doubles import (
    DOUBLES,
    Choice,
    CloseCoin,
    Coin,
    DiscreteDouble,
    TinyDeepSBN,
    TinySBN,
    gradient_draws,
)
from tests.inference.discrete.discrete_harness import blocks_of
from tests.inference.discrete.discrete_truth import total_variance

COPIES = 5000
"""Draws of a variance: 2 percent of it is their error, where a tenth is the least that is to be told."""


def noise(objective: Any, double: type[DiscreteDouble]) -> float:
    """The variance of the guide's gradient, summed."""
    return total_variance(gradient_draws(objective, double(COPIES)), blocks_of(double)["guide"])


def test_leaving_one_out_is_below_no_baseline() -> None:
    for double in DOUBLES:
        assert 1.1 * noise(REINFORCE(num_particles=2), double) < noise(
            REINFORCE(num_particles=2, baseline="none"), double
        )


@pytest.mark.parametrize("objective", [REBAR(), RELAX(hidden=(4,)), MuProp()], ids=lambda o: type(o).__name__)
def test_a_control_variate_is_below_no_baseline(objective: Any) -> None:
    """On the toy by a factor of 5, though neither temperature nor scale is learned."""
    for double in DOUBLES:
        least = 5 if double in (Coin, CloseCoin) else 1.1
        assert least * noise(objective, double) < noise(REINFORCE(num_particles=1, baseline="none"), double)


def test_disarm_is_below_leaving_one_out_with_as_many_samples_of_one_layer() -> None:
    for double in (Coin, TinySBN):
        assert 1.1 * noise(DisARM(), double) < noise(REINFORCE(num_particles=2), double)


def test_disarm_is_below_arm() -> None:
    for double in (Coin, TinySBN, TinyDeepSBN):
        assert 1.05 * noise(DisARM(), double) < noise(ARM(), double)


def test_a_pair_without_noise_in_its_differences_has_none_in_its_gradient() -> None:
    """At even probabilities both units of every pair differ: DisARM is a sum over both states."""
    assert noise(DisARM(), CloseCoin) < 1e-20


def test_bounds_of_several_particles_gain_from_the_others() -> None:
    plain = REINFORCE(num_particles=5, bound="iwelbo", baseline="none")
    for double in (TinySBN, Choice):
        assert 1.1 * noise(VIMCO(num_particles=5), double) < noise(plain, double)
    assert 1.1 * noise(DisARM(num_particles=5, bound="iwelbo"), TinySBN) < noise(VIMCO(num_particles=10), TinySBN)


def test_a_control_by_auxiliary_particles_is_below_the_signal_of_the_others() -> None:
    """With as many auxiliary particles as others, and against VIMCO with all of them."""
    for double in (TinySBN, TinyDeepSBN, Choice):
        ours = OVIS(num_particles=5, auxiliary=5)
        assert 1.1 * noise(ours, double) < noise(VIMCO(num_particles=10), double)
