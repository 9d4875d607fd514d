"""Machines with copies of their layers against sums over all of their states."""

import itertools

import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.layers.copied_machine import CopiedMachine
from tests.machines import FALSE_ALARM, p_value

VISIBLE, HIDDEN, DRAWS = 3, 2, 20_000


def product(units: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)), dtype=torch.float64)


@pytest.fixture(params=[(1, 1), (2, 1), (1, 2)], ids=str)
def machine(request: pytest.FixtureRequest) -> CopiedMachine:
    torch.manual_seed(3)
    bias, weight, above = (nn.Parameter(torch.randn(size)) for size in ((VISIBLE,), (VISIBLE, HIDDEN), (HIDDEN,)))
    below_copies, above_copies = request.param
    machine = CopiedMachine(bias, weight, above, torch.randn(VISIBLE), below=below_copies, above=above_copies)
    return machine.double()


def joint(machine: CopiedMachine) -> Tensor:
    """log p~ of every state of all copies by the formula, (states of the v, states of the h)."""
    v = product(machine.below * VISIBLE).unflatten(-1, (machine.below, VISIBLE))
    h = product(machine.above * HIDDEN).unflatten(-1, (machine.above, HIDDEN))
    own = (v @ machine.visible_bias).sum(-1)[:, None] + (h @ machine.hidden_bias).sum(-1)
    pairs = torch.einsum("aid,de,bje->ab", v, machine.weight, h)
    total: Tensor = own + pairs
    return total.detach()


def test_a_state_has_all_copies_above_summed_out(machine: CopiedMachine) -> None:
    s = product(machine.below * VISIBLE)
    torch.testing.assert_close(machine.log_tempered(s, 1.0).detach(), joint(machine).logsumexp(1))
    torch.testing.assert_close(machine.exact_log_z(), joint(machine).flatten().logsumexp(0))


def test_the_free_energy_is_that_of_a_datum_in_every_copy(machine: CopiedMachine) -> None:
    v = product(VISIBLE)
    every = product(machine.below * VISIBLE)
    places = [int((every == v_i.repeat(machine.below)).all(1).nonzero()[0]) for v_i in v]
    torch.testing.assert_close(machine.free_energy(v).detach(), -joint(machine)[places].logsumexp(1))
    log_w = ppgen.log_weights(machine, (v,), num_particles=3)
    torch.testing.assert_close(log_w, -machine.free_energy(v).detach().expand(3, -1))


@pytest.mark.parametrize("b", [0.0, 0.4, 1.0])
def test_a_sweep_leaves_the_distribution_invariant(machine: CopiedMachine, b: float) -> None:
    torch.manual_seed(0)
    states = product(machine.below * VISIBLE)
    p = machine.log_tempered(states, b).detach().softmax(0)
    s = states[torch.multinomial(p, DRAWS, replacement=True)]
    after = machine.sweep(s) if b == 1 else machine.tempered_sweep(s, b)
    number = (after @ 2.0 ** torch.arange(states.shape[1] - 1, -1, -1, dtype=s.dtype)).long()
    assert p_value(number, p) > FALSE_ALARM


def test_annealing_ends_at_log_z(machine: CopiedMachine) -> None:
    found = ppgen.log_z(machine, num_temperatures=100, num_chains=300)
    assert found.value == pytest.approx(float(machine.exact_log_z()), abs=5 * found.standard_error)
