"""Gradients with too much noise for a z-test, without it: objectives are run at the nodes of quadrature.

The expectation of a gradient over K normal draws is its weighted sum over the nodes of quadrature in K dimensions, of
the very code that training runs. The reference is autograd of the expectation by hand, over the same nodes: where the
gradient is pathwise the two are the same sum, and where it has integrated by parts (doubly reparameterized) they differ
by quadrature's own error, of which fewer nodes tell. So 2 % too much in any part is far outside.

SUMO has a random number of particles, T. Given T the model's gradient is that of a sum of importance-weighted bounds,
and with T cut off at N the mean over T is that of the bound of m + N: the roulette's noise, of infinite variance, is in
none of it.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from torch import Tensor

from ppgen.inference import JVI, SUMO, DReG
from tests.doubles import Line
from tests.inference.mutants import JackknifeOfTwo, LargerLastTerm, RouletteScaled, Scaled, SurvivalOfTheNext
from tests.inference.truth import (
    Parameters,
    Reduce,
    exact_gradient,
    expectation,
    expected_gradient,
    iwelbo,
    jackknife,
    line_log_w,
)
from tests.marks import thorough

MODEL, GUIDE = ("weight", "loc", "log_noise"), ("slope", "shift", "log_scale")
NODES = {2: 200, 3: 64}
"""A dimension, of so many dimensions."""
ROUNDING = 1e-9


def bound_of(particles: int, total: int, parameters: Parameters) -> Tensor:
    """E L_K by hand, over the nodes of ``total`` particles."""
    return expectation(line_log_w, iwelbo, parameters, particles=particles, nodes=NODES[total])


def by_hand(reduce: Reduce, particles: int) -> dict[str, float]:
    value = partial(expectation, line_log_w, reduce, particles=particles, nodes=NODES[particles])
    return exact_gradient(value, Line())


def error(objective: Any, particles: int, exact: dict[str, float], names: tuple[str, ...] = MODEL + GUIDE) -> float:
    """The largest relative error of the expected gradient."""
    found = expected_gradient(objective, particles, NODES[particles])
    return max(abs(found[name] / exact[name] - 1) for name in names)


@pytest.mark.parametrize(("order", "particles"), [(1, 2), *thorough([(1, 3)]), (2, 3)])
def test_the_jackknifes_expected_gradient_is_that_of_its_definition(order: Any, particles: int) -> None:
    exact = by_hand(jackknife(order), particles)
    sound = JVI(num_particles=particles, order=order)
    assert error(sound, particles, exact) < ROUNDING
    by_parts = DReG(num_particles=particles, bound=sound)
    assert error(by_parts, particles, exact, MODEL) < ROUNDING
    assert error(by_parts, particles, exact, GUIDE) < 0.01  # of 64 nodes to a dimension; it falls with more
    assert error(Scaled(bound=sound, num_particles=particles, factor=1.02), particles, exact) > 0.01
    assert error(LargerLastTerm(num_particles=particles, order=order), particles, exact) > 1e-3


def test_the_jackknifes_expected_gradient_is_a_sum_of_those_of_bounds() -> None:
    """9/2 L_3 - 4 L_2 + 1/2 L_1, from Nowozin's formula."""
    parts = [exact_gradient(partial(bound_of, particles, 3), Line()) for particles in (3, 2, 1)]
    exact = {name: 4.5 * parts[0][name] - 4 * parts[1][name] + 0.5 * parts[2][name] for name in parts[0]}
    assert error(JVI(num_particles=3, order=2), 3, exact) < ROUNDING
    assert error(JackknifeOfTwo(num_particles=3), 3, exact) > 0.02


def roulette(terms: int, parameters: Parameters) -> Tensor:
    """E SUMO given T = ``terms`` with m = 1, by hand."""
    bounds = [bound_of(particles, terms + 1, parameters) for particles in range(1, terms + 2)]
    survival = {1: 1.0, 2: 0.5}
    steps = pairwise(bounds)
    return bounds[0] + sum((b - a) / survival[j] for j, (a, b) in enumerate(steps, 1))


@pytest.mark.parametrize("terms", [1, 2])
def test_given_where_the_roulette_ends_its_expected_gradient_is_exact(
    terms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SUMO, "terms", lambda self: terms)
    total = terms + 1
    of_series = exact_gradient(partial(roulette, terms), Line())
    of_bound = exact_gradient(partial(bound_of, total, total), Line())
    assert error(SUMO(num_particles=1), total, of_series, MODEL) < ROUNDING
    assert error(SUMO(num_particles=1), total, of_bound, GUIDE) < 5e-3
    for names, of, exact in ((MODEL, "model", of_series), (GUIDE, "guide", of_bound)):
        wrong = RouletteScaled(num_particles=1, of=of)
        assert error(wrong, total, exact, names) > 0.01
    assert error(SurvivalOfTheNext(num_particles=1), total, of_series, MODEL) > 0.02


def test_averaged_over_where_it_ends_the_models_gradient_is_that_of_the_longest_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T cut off at 2: P(T = 1) = P(T = 2) = 1/2."""
    found = dict.fromkeys(MODEL, 0.0)
    for terms in (1, 2):
        monkeypatch.setattr(SUMO, "terms", lambda self, terms=terms: terms)
        one = expected_gradient(SUMO(num_particles=1), terms + 1, NODES[3])
        found = {name: found[name] + one[name] / 2 for name in MODEL}
    exact = exact_gradient(partial(bound_of, 3, 3), Line())
    assert max(abs(found[name] / exact[name] - 1) for name in MODEL) < ROUNDING
