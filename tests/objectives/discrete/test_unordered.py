"""Weights of sets drawn without replacement, against orders one by one and against all sets of a domain."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgen.objectives.discrete.unordered import (
    importance_shares,
    orders_by_integral,
    orders_by_subsets,
    unordered_shares,
)
from ppgen.objectives.discrete.without_replacement import Branches

BOTH = pytest.mark.parametrize("orders", [orders_by_subsets, orders_by_integral])


def drawn(log_mass: Tensor, log_rest: float = -math.inf) -> Branches:
    """A set of states of one datum."""
    mass = log_mass.double()[:, None]
    return Branches(mass, mass, mass.new_full((1,), log_rest), mass.new_full((1,), -math.inf))


def by_orders(masses: Sequence[Fraction], domain: Fraction) -> Fraction:
    """The probability that draws without replacement from a domain of this mass are these states, in any order."""
    total = Fraction(0)
    for order in itertools.permutations(masses):
        left, chance = domain, Fraction(1)
        for mass in order:
            chance, left = chance * mass / left, left - mass
        total += chance
    return total


def domain(size: int, spread: float) -> Tensor:
    """log q of so many states."""
    torch.manual_seed(size)
    return (spread * torch.randn(size, dtype=torch.float64)).log_softmax(0)


@BOTH
@pytest.mark.parametrize("spread", [0.5, 3.0, 10.0])
@pytest.mark.parametrize(("size", "num"), [(2, 2), (3, 2), (5, 3), (6, 6), (8, 5)])
def test_probabilities_of_sets_and_both_ratios_are_those_of_all_orders(
    orders: Callable[[Branches], Any], size: int, num: int, spread: float
) -> None:
    """In exact fractions; 1e-9 is what the integral promises, and sums over subsets keep it to rounding."""
    log_q = domain(size, spread)
    q, whole = [Fraction(float(m)) for m in log_q.exp()], sum((Fraction(float(m)) for m in log_q.exp()), Fraction(0))
    rest = -math.inf if size == num else float(log_q[num:].logsumexp(0))
    none, one, two = orders(drawn(log_q[:num], rest))

    def without(*out: int) -> Fraction:
        return by_orders([q[s] for s in range(num) if s not in out], whole - sum(q[s] for s in out))

    assert math.exp(float(none + log_q[:num].sum())) == pytest.approx(float(without()), rel=1e-9)
    for s in range(num):
        assert float((one[s] - none).exp()) == pytest.approx(float(q[s] * without(s) / without()), rel=1e-9)
        for t in set(range(num)) - {s}:
            ratio = q[t] * without(s, t) / without(s)
            assert float((two[s, t] - one[s]).exp()) == pytest.approx(float(ratio), rel=1e-9)


@pytest.mark.parametrize("num", [2, 3, 4])
def test_over_all_sets_the_weights_have_the_expectations_that_they_claim(num: int) -> None:
    """E W_s 1[s in S] = q(s), and E W_s V_st 1[s, t in S] = q(s) q(t): what leaves value and gradient without bias."""
    log_q = domain(6, 1.5)
    first, second = torch.zeros(6, dtype=torch.float64), torch.zeros(6, 6, dtype=torch.float64)
    for subset in itertools.combinations(range(6), num):
        inside, outside = list(subset), [s for s in range(6) if s not in subset]
        of_set = drawn(log_q[inside], float(log_q[outside].logsumexp(0)))
        chance = (orders_by_subsets(of_set)[0] + log_q[inside].sum()).exp()
        shares = unordered_shares(of_set)
        first[inside] += chance * shares.first[:, 0]
        second[torch.tensor(inside)[:, None], torch.tensor(inside)] += (
            chance * (shares.first[:, None] * shares.others)[..., 0]
        )
        torch.testing.assert_close(shares.others.sum(1)[:, 0], 1 - log_q[inside].exp(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(first, log_q.exp())
    q = log_q.exp()
    torch.testing.assert_close(second, (q[:, None] * q).fill_diagonal_(0.0))


@BOTH
@pytest.mark.parametrize("num", [2, 8, 12])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_among_states_that_are_all_unlikely_each_has_an_equal_weight(
    orders: Callable[[Branches], Any], num: int, kind: torch.dtype
) -> None:
    """As without replacement there: REINFORCE with leave-one-out."""
    mass = (torch.linspace(-500, -400, num)[:, None]).to(kind)
    none, one, two = orders(Branches(mass, mass, mass.new_zeros(1), mass.new_zeros(1)))
    torch.testing.assert_close((one - none).exp(), torch.full_like(mass, 1 / num))
    apart = ~torch.eye(num, dtype=torch.bool)
    torch.testing.assert_close(
        (two - one[:, None]).exp()[..., 0][apart], mass.new_full((num * (num - 1),), 1 / (num - 1))
    )


@pytest.mark.parametrize("num", [3, 5, 12])
@pytest.mark.parametrize("shares", [unordered_shares, importance_shares])
def test_where_no_more_states_than_draws_the_weights_are_the_probabilities(shares: Any, num: int) -> None:
    """And what is there again, without mass, has none."""
    log_q = torch.tensor([0.7, 0.3 - 1e-12, 1e-12], dtype=torch.float64).log()
    log_q = torch.cat([log_q, torch.full((num - 3,), -math.inf, dtype=torch.float64)])
    found, q = shares(drawn(log_q)), log_q.exp()
    torch.testing.assert_close(found.first[:, 0], q, rtol=1e-12, atol=0)
    expected = q.expand(num, num).where((q[:, None] > 0) & ~torch.eye(num, dtype=torch.bool), 0.0)
    torch.testing.assert_close(found.others[..., 0], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shares", [unordered_shares, importance_shares])
def test_what_is_the_same_in_all_states_is_no_signal(shares: Any) -> None:
    found = shares(drawn(torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64).log(), math.log(0.4)))
    f = torch.tensor([[-7.0], [-7.0], [-7.0]], dtype=torch.float64)
    assert not found.signal(f).any()
    assert found.signal(f + torch.eye(3, 1, dtype=torch.float64)).all()
