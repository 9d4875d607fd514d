"""Every kernel of every registered energy-based pair leaves its distribution as it is, all states enumerated.

Exact draws are moved once, and counted: a chi-square test with one false alarm in a million, ``RATE``, and fixed seeds.
That the counts would tell a wrong kernel is shown by kernels that are wrong. Data that are real are not enumerated:
their pairs test themselves by quadrature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgen.data import DataSpec
from ppgen.inference import ParallelTempering, TemperedTransitions
from ppgen.models import DBM, DBN, RBM, Boltzmann
from ppgen.pairs.energy import EnergyPair
from ppgen.registry import MODELS
from ppgen.testing.sandbox import program_of
from tests.machines import p_value

RATE = 1e-6
DRAWS, MOST_STATES = 20_000, 1024

LABELLED = DataSpec("bits", 3, "binary", num_classes=3)

BESIDE: dict[str, Callable[[], EnergyPair]] = {
    "rbm of levels": lambda: RBM(DataSpec("grey", 2, "quantised", levels=3), 3),
    "rbm of counts": lambda: RBM(DataSpec("words", 3, "counts"), 3, length=4),
    "rbm with more hidden units": lambda: RBM(DataSpec("bits", 3, "binary"), 6),
    "rbm with labels": lambda: RBM(LABELLED, 3, labels=True),
    "boltzmann without hidden units": lambda: Boltzmann(DataSpec("bits", 5, "binary"), temperature=1.3),
    "dbm of three layers": lambda: DBM(DataSpec("bits", 3, "binary"), (2, 2, 3)),
    "dbm of two layers with labels": lambda: DBM(LABELLED, (3, 2), labels=True),
    "dbm of three layers with labels": lambda: DBM(LABELLED, (2, 2, 2), labels=True),
    "dbn of three layers": lambda: DBN(DataSpec("bits", 3, "binary"), (3, 4, 2)),
    "dbn with labels": lambda: DBN(LABELLED, (3, 2), labels=True),
}
"""What the registry's tiny cases are not."""


def tiny(name: str) -> Any:
    make = MODELS[name].tiny
    assert make is not None
    return make()[0]


REGISTERED = {name: pair for name in MODELS if isinstance(pair := tiny(name), EnergyPair)}
ENUMERATED = {name: lambda name=name: tiny(name) for name, pair in REGISTERED.items() if pair.observation != "real"}
CASES: dict[str, Callable[[], Any]] = {**ENUMERATED, **BESIDE}
HELD = [name for name, make in CASES.items() if make().can_be_held]


class Enumerated:
    """A pair of random parameters, and all the states of its chains, (S, width)."""

    def __init__(self, make: Callable[[], Any]) -> None:
        torch.manual_seed(7)
        self.pair = make().double()
        bases = [buffer for name, buffer in self.pair.named_buffers() if name.endswith("base_bias")]
        for base in bases:
            base.zero_()
        self.states = torch.unique(self.pair.base_sample(DRAWS), dim=0)  # all, of units that are fair
        assert len(self.states) <= MOST_STATES
        for value in (*self.pair.parameters(), *bases):
            torch.nn.init.normal_(value, 0.0, 0.9)
        self.places = 10.0 ** torch.arange(self.states.shape[1], dtype=torch.float64)  # numbers below 10, and halves
        self.codes, self.order = (self.states @ self.places).sort()

    @torch.no_grad()
    def law(self, b: float = 1.0) -> Tensor:
        """p_b of every state, (S,)."""
        law: Tensor = self.pair.log_tempered(self.states, b).softmax(0)
        return law

    def draw(self, b: float = 1.0) -> Tensor:
        drawn: Tensor = self.states[torch.multinomial(self.law(b), DRAWS, replacement=True)]
        return drawn

    def number(self, s: Tensor) -> Tensor:
        """Which state each is."""
        number: Tensor = self.order[torch.searchsorted(self.codes, s @ self.places).clamp_max(len(self.codes) - 1)]
        assert torch.equal(self.states[number], s), "a state that the base distribution does not have"
        return number

    def p(self, s: Tensor, b: float = 1.0) -> float:
        return p_value(self.number(s), self.law(b))


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Enumerated:
    return Enumerated(CASES[request.param])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


def test_every_registered_pair_is_enumerated_or_real() -> None:
    assert {name for name, pair in REGISTERED.items() if pair.observation == "real"} == {"neural_energy"}
    assert len(ENUMERATED) == len(REGISTERED) - 1


def test_the_states_are_all_of_them(case: Enumerated) -> None:
    log_z = case.pair.log_tempered(case.states, 1.0).logsumexp(0).detach()
    torch.testing.assert_close(case.pair.exact_log_z(), log_z)


def test_the_base_distribution_is_the_start_of_the_path(case: Enumerated) -> None:
    log_z = case.pair.log_tempered(case.states, 0.0).logsumexp(0).detach()
    torch.testing.assert_close(case.pair.base_log_z().detach(), log_z)
    assert case.p(case.pair.base_sample(DRAWS), 0.0) > RATE


def test_a_sweep_leaves_the_distribution_as_it_is(case: Enumerated) -> None:
    s = case.draw()
    moved = case.pair.sweep(s)
    assert not torch.equal(moved, s)
    assert case.p(moved) > RATE


@pytest.mark.parametrize("b", [0.0, 0.4, 1.0])
def test_a_tempered_sweep_leaves_the_tempered_distribution_as_it_is(case: Enumerated, b: float) -> None:
    assert case.p(case.pair.tempered_sweep(case.draw(b), b), b) > RATE


def test_a_sweep_at_another_temperature_is_told(case: Enumerated) -> None:
    """The control: a kernel that is right for p_0.5, of draws of p_1."""
    assert case.p(case.pair.tempered_sweep(case.draw(), 0.5)) < RATE


def test_sweeps_from_one_state_reach_the_distribution(case: Enumerated) -> None:
    s = case.states[:1].expand(4000, -1)
    for _ in range(40):
        s = case.pair.sweep(s)
    assert case.p(s) > RATE


@pytest.mark.parametrize("b", [0.4, 1.0])
@pytest.mark.parametrize("case", HELD, indirect=True)
def test_a_held_sweep_leaves_the_hidden_units_distribution_as_it_is(case: Enumerated, b: float) -> None:
    """That of the hidden units at each datum, and so that of the whole state; its datum stays."""
    s = case.draw(b)
    moved = case.pair.held_sweep(s, b)
    assert torch.equal(case.pair.visible(moved), case.pair.visible(s))
    assert torch.equal(moved, s) is not case.pair.has_own_state
    assert case.p(moved, b) > RATE


@pytest.mark.parametrize("lowest", [0.0, 0.5])
def test_a_tempered_transition_leaves_the_distribution_as_it_is(case: Enumerated, lowest: float) -> None:
    """The control: that all moves are accepted, which is not right, is told."""
    objective, s = TemperedTransitions(num_temperatures=4, lowest=lowest), case.draw()
    if not case.pair.reversible:
        why = objective.refuses(program_of(case.pair), (torch.zeros(2, case.states.shape[1]),))
        assert "needs sweeps that are reversible" in (why or "")
        return
    moved, accepted = objective.transition(case.pair, s)
    assert 0.05 < float(accepted.double().mean()) < 0.99
    assert case.p(moved) > RATE
    down = torch.linspace(1, lowest, 4, dtype=torch.float64)
    for b in (*down[1:], *down.flip(0)[:-1]):
        s = case.pair.tempered_sweep(s, b)
    assert case.p(s) < RATE or lowest > 0


@pytest.mark.parametrize("first", [0, 1])
def test_exchanges_leave_the_product_of_all_tempered_distributions_as_it_is(case: Enumerated, first: int) -> None:
    """States of four temperatures in three groups each, by what tells them apart. The control: exchanges that are all
    accepted, which is not right, are told."""
    tempering = ParallelTempering(num_temperatures=4)
    ladder = [float(b) for b in tempering.ladder(case.states)]
    chains = torch.stack([case.draw(b) for b in ladder])  # (T, M, width)
    after, rate = tempering.exchange(case.pair, chains, first)
    assert 0.1 < float(rate) < (4 - first) // 2
    grouped, law = _groups(case, ladder)
    assert p_value(_joint(case, grouped, after), law) > RATE
    always = chains[[1, 0, 3, 2]] if first == 0 else chains[[0, 2, 1, 3]]
    assert p_value(_joint(case, grouped, always), law) < RATE


def _groups(case: Enumerated, ladder: list[float]) -> tuple[Tensor, Tensor]:
    """The group of each state, (S,), by log p_1 - log p_0, and the probabilities of groups at all temperatures."""
    gain = case.law(1.0).log() - case.law(0.0).log()
    grouped = torch.bucketize(gain, gain.quantile(torch.tensor([1 / 3, 2 / 3], dtype=gain.dtype)))
    law = torch.ones(1, dtype=gain.dtype)
    for b in ladder:
        each = torch.zeros(3, dtype=gain.dtype).index_add(0, grouped, case.law(b))
        law = (law[:, None] * each).flatten()
    return grouped, law


def _joint(case: Enumerated, grouped: Tensor, chains: Tensor) -> Tensor:
    """The number of the groups of all temperatures, (M,)."""
    number = torch.zeros(chains.shape[1], dtype=torch.long)
    for level in chains:
        number = number * 3 + grouped[case.number(level)]
    return number
