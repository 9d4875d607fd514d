"""Exchanges between temperatures help chains mix; what they leave alone is in ``tests/chains/test_invariance.py``."""

import pytest
import torch
from torch import Tensor

from ppgen.data import DataSpec
from ppgen.inference import PCD, ParallelTempering
from ppgen.models import RBM
from ppgen.testing.sandbox import program_of
from tests.machines import bernoulli

DRAWS = 20_000


def test_a_rejected_state_stays_and_an_accepted_one_changes_places() -> None:
    machine = bernoulli(features=2, scale=2.0)
    tempering = ParallelTempering(num_chains=DRAWS, num_temperatures=3)
    chains = torch.stack([machine.draw(DRAWS, float(b)) for b in tempering.ladder(machine.states)])  # (T, M, D)
    after, _ = tempering.exchange(machine.pair, chains, 0)
    stayed = (after == chains).all(-1)  # (T, M)
    exchanged = (after[0] == chains[1]).all(-1) & (after[1] == chains[0]).all(-1)
    assert bool(stayed[2].all())
    assert bool(((stayed[0] & stayed[1]) | exchanged).all())
    assert 0 < int((~stayed[0]).sum()) < DRAWS


@pytest.mark.parametrize("num_temperatures", [2, 3, 4])
def test_the_swap_rate_is_one_where_all_temperatures_have_the_same_distribution(num_temperatures: int) -> None:
    pair, v = RBM(DataSpec("bits", 3, "binary"), 2).double(), torch.zeros(1, 3, dtype=torch.float64)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.zero_()
    objective = ParallelTempering(num_chains=5, num_temperatures=num_temperatures, num_steps=2)
    _, _, metrics = objective.negative(pair, v, objective.initial_state(program_of(pair), (v,)))
    assert float(metrics["swap_rate"]) == pytest.approx(1)


@pytest.mark.parametrize("num_steps", [1, 3])
def test_a_step_makes_as_many_sweeps_as_were_asked_for(num_steps: int) -> None:
    swept = []

    class Counting(RBM):
        def tempered_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
            swept.append(s.shape)
            return super().tempered_sweep(s, b)

    pair, v = Counting(DataSpec("bits", 3, "binary"), 2), torch.zeros(1, 3)
    objective = ParallelTempering(num_chains=5, num_temperatures=4, num_steps=num_steps)
    objective.negative(pair, v, objective.initial_state(program_of(pair), (v,)))
    assert swept == [(4, 5, 3)] * num_steps


def two_modes() -> RBM:
    """All units on, or all off, with the same probability, and nearly nothing between."""
    pair = RBM(DataSpec("bits", 6, "binary"), 6).double()
    with torch.no_grad():
        pair.weight.fill_(2.5)
        pair.visible_bias.fill_(-7.5)
        pair.hidden_bias.fill_(-7.5)
    return pair


def share_on(objective: PCD | ParallelTempering, steps: int) -> float:
    """The share of the model's own chains that are in the mode ``on``, having started at ``off``."""
    pair, off = two_modes(), torch.zeros(1, 6, dtype=torch.float64)
    state = objective.initial_state(program_of(pair), (off,))
    for _ in range(steps):
        state = objective.play("all", program_of(pair), (off,), state).state
    chains = objective.chains(state)
    assert chains is not None
    return float((chains.mean(1) > 0.5).double().mean())


def test_tempered_chains_find_the_mode_that_plain_ones_miss() -> None:
    assert share_on(PCD(num_chains=200), 100) < 0.1
    assert share_on(ParallelTempering(num_chains=200), 100) == pytest.approx(0.5, abs=0.15)  # four standard errors
