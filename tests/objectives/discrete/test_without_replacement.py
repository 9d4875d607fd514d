"""Draws without replacement of joint states: their law, their masses, and what is left beside them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.objectives.discrete.unordered import importance_shares, orders_by_subsets
from ppgen.objectives.discrete.without_replacement import Branches, distinct_states
from ppgen.pairs.tracing import Particles, Program
from tests.discrete_doubles import Blend, Choice, TinyDeepSBN, TinySBN

COPIES = 20_000


def draws_of(pair: Any, num: int, seed: int = 0) -> tuple[Particles, Branches]:
    torch.manual_seed(seed)
    with torch.no_grad():
        return distinct_states(Program(pair.model, pair.guide), pair.batch, num, "this test")


def numbers_of(particles: Particles) -> Tensor:
    """The number of each particle's joint state, (K, B), read as digits."""
    values = torch.cat([particles.guide_sites[name]["value"].flatten(2) for name in particles.scored], -1)
    return (values * 2.0 ** torch.arange(values.shape[-1])).sum(-1).long()


@pytest.mark.parametrize(("double", "num"), [(TinySBN, 2), (TinySBN, 3), (TinyDeepSBN, 2), (Choice, 2)])
def test_ordered_draws_have_the_law_of_draws_without_replacement(double: Any, num: int) -> None:
    """The chance of each order is prod q(s_j) / (1 - what came before); |z| < 5 for at most 240 of them."""
    particles, drawn = draws_of(double(COPIES), num)
    order, chance = numbers_of(particles), torch.zeros(COPIES, dtype=torch.float64)
    for j in range(num):
        chance += drawn.log_mass[j] - (drawn.log_mass[j:].exp().sum(0) + drawn.log_rest.exp()).log()
    key = (order * (1 << 20) ** torch.arange(num)[:, None]).sum(0)
    kinds, first, counts = _kinds(key)
    expected = chance.exp()[first] * COPIES
    assert len(kinds) > 6
    assert float(((counts - expected).abs() / expected.sqrt().clamp_min(1.0)).max()) < 5
    assert abs(float(expected.sum()) / COPIES - 1) < 0.01  # nearly all orders were seen


def _kinds(key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Different keys, the place of one of each, and how many there are."""
    kinds, inverse, counts = key.unique(return_inverse=True, return_counts=True)
    first = torch.zeros(len(kinds), dtype=torch.long).scatter(0, inverse, torch.arange(len(key)))
    return kinds, first, counts


@pytest.mark.parametrize(("double", "num"), [(TinySBN, 3), (TinyDeepSBN, 5), (Choice, 4)])
def test_states_are_distinct_with_their_masses_and_all_the_rest_is_what_is_left(double: Any, num: int) -> None:
    particles, drawn = draws_of(double(500), num)
    torch.testing.assert_close(drawn.log_mass, particles.log_q_of(particles.scored))
    torch.testing.assert_close(drawn.log_mass.exp().sum(0) + drawn.log_rest.exp(), torch.ones(500).double())
    numbers = numbers_of(particles)
    assert all(len(set(column)) == num for column in numbers.T.tolist())
    assert bool((drawn.gumbel.diff(dim=0) < 0).all())
    assert bool((drawn.threshold < drawn.gumbel[-1]).all())


@pytest.mark.parametrize(("double", "states"), [(TinySBN, 4), (TinyDeepSBN, 16), (Choice, 9)])
def test_beyond_the_last_state_nothing_is_left(double: Any, states: int) -> None:
    particles, drawn = draws_of(double(50), states + 2)
    assert drawn.log_rest.tolist() == drawn.threshold.tolist() == [-math.inf] * 50
    assert bool((drawn.log_mass[:states] > -math.inf).all())
    assert bool((drawn.log_mass[states:] == -math.inf).all())
    assert bool(torch.isfinite(particles.log_w).all())


def test_what_is_drawn_between_two_sites_is_shared_by_the_states_that_go_on_from_it() -> None:
    """All four states of b and c: those with the same b have the same y."""
    particles, drawn = draws_of(Blend(50), 4)
    b, y = (particles.guide_sites[name]["value"][..., 0] for name in ("b", "y"))
    for value in (0.0, 1.0):
        of_b = y.where(b == value, math.nan)
        assert torch.nanmean((of_b - of_b.nanmean(0)).square()) < 1e-20
    torch.testing.assert_close(drawn.log_mass.exp().sum(0), torch.ones(50).double())
    assert not torch.allclose(y[b == 0].mean(), y[b == 1].mean())


def test_the_threshold_is_that_of_the_next_state() -> None:
    """Importance weights by it sum to one in expectation: over 20,000 draws, within five standard errors."""
    for double in (TinySBN, TinyDeepSBN):
        total = importance_shares(draws_of(double(COPIES), 2)[1]).first.sum(0)
        assert abs(float(total.mean()) - 1) < 5 * float(total.std()) / math.sqrt(COPIES)


def test_two_hundred_units_take_no_list_of_their_states() -> None:
    torch.manual_seed(0)
    pair = ppgen.models.SBN(ppgen.DataSpec("bits", 10, "binary"), layers=(200, 20))
    with torch.no_grad():
        particles, drawn = distinct_states(Program(pair.model, pair.guide), (torch.ones(3, 10),), 6, "this test")
    torch.testing.assert_close(drawn.log_mass, particles.log_q_of(particles.scored), rtol=1e-4, atol=0)
    assert bool(torch.isfinite(orders_by_subsets(drawn)[0]).all())
    sites = [particles.guide_sites[name]["value"] for name in particles.scored]
    rows = torch.cat([value.flatten(2) for value in sites], -1)
    assert all(len(rows[:, i].unique(dim=0)) == 6 for i in range(3))


@pytest.mark.parametrize("num", [2, 20])
def test_particles_that_run_one_after_another_are_drawn_so_too(num: int) -> None:
    pair = TinyDeepSBN(30)
    pair.vectorized = False
    particles, drawn = draws_of(pair, num)
    together, same = draws_of(TinyDeepSBN(30), num)
    torch.testing.assert_close(drawn.log_mass.exp().sum(0) + drawn.log_rest.exp(), torch.ones(30).double())
    real = drawn.log_mass > -math.inf
    torch.testing.assert_close(drawn.log_mass[real], particles.log_q_of(particles.scored)[real])
    assert bool((same.log_mass > -math.inf).equal(real))
    assert together.log_w.shape == particles.log_w.shape
