"""Tempered transitions against the enumerated distribution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.distributions.binary_states import binary_states
from ppgen.inference import TemperedTransitions

D = 4


@pytest.fixture
def pair() -> Any:
    torch.manual_seed(0)
    made: Any = ppgen.make_pair("rbm", ppgen.DataSpec("bits", D, "binary"), hidden=3).double()
    for parameter in (*made.parameters(), made.base_bias):
        torch.nn.init.normal_(parameter, 0.0, 1.5)
    return made


def drawn(pair: Any, num: int) -> tuple[Tensor, Tensor]:
    """The probability of each state by its number, and exact draws."""
    (v,) = binary_states(D, torch.zeros((), dtype=torch.float64))
    law = (-pair.free_energy(v)).softmax(0).detach()
    return law, v[torch.multinomial(law, num, replacement=True)]


def chi_square(v: Tensor, law: Tensor) -> float:
    found = (v @ 2.0 ** torch.arange(D).double()).long().bincount(minlength=2**D)
    return float(((found - len(v) * law).square() / (len(v) * law)).sum())


@pytest.mark.parametrize("lowest", [0.0, 0.5])
def test_a_transition_leaves_the_distribution_as_it_is(pair: Any, lowest: float) -> None:
    """A chi-square test of 100,000 exact draws after one, with one false alarm in 10,000; moves that are all accepted,
    which is not right, are seen by it."""
    law, states = drawn(pair, 100_000)
    objective = TemperedTransitions(num_temperatures=4, lowest=lowest)
    moved, accepted = objective.transition(pair, states)
    assert 0.1 < float(accepted.double().mean()) < 0.95
    assert chi_square(moved, law) < 44.3  # of 15 degrees of freedom
    torch.manual_seed(1)
    always = states
    for b in (*torch.linspace(1, lowest, 4)[1:], *reversed(torch.linspace(1, lowest, 4)[1:])):
        always = pair.tempered_sweep(always, b)
    assert chi_square(always, law) > 100


def test_chains_leave_a_mode_that_sweeps_stay_in() -> None:
    pair: Any = ppgen.make_pair("rbm", ppgen.DataSpec("bits", 6, "binary"), hidden=6).double()
    with torch.no_grad():
        pair.weight.fill_(2.5)  # all units on, or all off
        pair.visible_bias.fill_(-7.5)
        pair.hidden_bias.fill_(-7.5)
    torch.manual_seed(0)
    swept = tempered = torch.ones(200, 6, dtype=torch.float64)
    objective = TemperedTransitions(num_temperatures=10, lowest=0.0)
    for _ in range(30):
        swept, tempered = pair.sweep(swept), objective.transition(pair, pair.sweep(tempered))[0]
    assert float(swept.mean()) > 0.9
    assert 0.4 < float(tempered.mean()) < 0.6


def test_a_pair_whose_sweeps_are_not_reversible_is_refused() -> None:
    pair: Any = ppgen.make_pair("boltzmann", ppgen.DataSpec("bits", D, "binary"))
    with pytest.raises(ppgen.UsageError, match="sweeps that are reversible, and those of Boltzmann are not"):
        TemperedTransitions().loss(pair.model, pair.guide, torch.zeros(2, D))
