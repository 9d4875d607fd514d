"""cd, pcd and parallel_tempering: their gradients against enumerated ones, what they carry, what they refuse."""

import math
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

import ppgen
from ppgen.data import Dataset, DataSpec, dataset_from
from ppgen.errors import UsageError
from ppgen.inference import CD, ELBO, IWELBO, PCD, ParallelTempering
from ppgen.models import RBM, VAE
from ppgen.objectives.negative_phase import NegativePhase
from ppgen.objectives.turns import Outcome, Player
from ppgen.pairs.function_pair import pair_from
from ppgen.testing.sandbox import program_of
from ppgen.training.learner import Learner
from ppgen.training.steps import compiled, player_step
from tests.machines import KINDS, Machine, bernoulli
from tests.traced import as_graphs

REPEATS = 60
"""Gradients averaged in a z-test; with |z| < 5 for each of 19 parameters false alarms are below 1 in 10,000."""

DATA = [0, 5, 5, 14]
"""Numbers of the states that are the data."""


@pytest.fixture
def machine() -> Machine:
    return bernoulli()


def gradient(pair: RBM, loss: Tensor) -> Tensor:
    return parameters_to_vector(torch.autograd.grad(loss, list(pair.parameters())))


def exact_gradient(machine: Machine) -> Tensor:
    """That of -mean log p(data), through the sum over all states."""
    minus_free = -machine.pair.free_energy(machine.states)
    return gradient(machine.pair, minus_free.logsumexp(0) - minus_free[DATA].mean())


def gradient_with(machine: Machine, negative: Tensor) -> Tensor:
    """That with a negative phase of the probabilities ``negative`` of all states."""
    energies = machine.pair.free_energy(machine.states)
    return gradient(machine.pair, energies[DATA].mean() - negative @ energies)


def transition(machine: Machine) -> Tensor:
    """p(v' | v) of one sweep, (S, S), by summing over hidden states."""
    pair, v = machine.pair, machine.states
    hidden = bernoulli(features=pair.hidden).states  # (T, H)
    up = torch.distributions.Bernoulli(logits=v @ pair.weight + pair.hidden_bias)
    down = torch.distributions.Bernoulli(logits=hidden @ pair.weight.T + pair.visible_bias)
    p_h = torch.stack([up.log_prob(h).sum(1).exp() for h in hidden], 1)  # (S, T)
    p_v = torch.stack([down.log_prob(state).sum(1).exp() for state in v], 1)  # (T, S)
    return (p_h @ p_v).detach()


def after_sweeps(machine: Machine, num: int) -> Tensor:
    """Probabilities of all states, (S,), after so many sweeps from the data."""
    start = torch.bincount(torch.tensor(DATA), minlength=len(machine.states)).double() / len(DATA)
    powered: Tensor = torch.linalg.matrix_power(transition(machine), num)
    return start @ powered


def play(machine: Machine, objective: NegativePhase, copies: int = 1, state: Any = None) -> Outcome:
    """One step on the data, each ``copies`` times."""
    program, batch = program_of(machine.pair), (machine.states[DATA].repeat(copies, 1),)
    state = objective.initial_state(program, batch) if state is None else state
    return objective.play("all", program, batch, state)


def agrees(machine: Machine, objective: NegativePhase, expected: Tensor, copies: int = 1) -> bool:
    """Whether the objective's mean gradient is the expected one: a z-test of every parameter."""
    found = []
    for _ in range(REPEATS):
        outcome = play(machine, objective, copies)
        found.append(gradient(machine.pair, outcome.loss / outcome.num_data))
    values = torch.stack(found)
    error = values.std(0) / math.sqrt(REPEATS)
    return bool(((values.mean(0) - expected).abs() < 5 * error + 1e-9).all())


def test_the_gradient_of_the_likelihood_is_the_positive_less_the_negative_phase(machine: Machine) -> None:
    torch.testing.assert_close(gradient_with(machine, machine.probabilities()), exact_gradient(machine))


@pytest.mark.parametrize("num_steps", [1, 3])
def test_the_mean_gradient_of_cd_is_that_of_k_sweeps(machine: Machine, num_steps: int) -> None:
    assert agrees(machine, CD(num_steps=num_steps), gradient_with(machine, after_sweeps(machine, num_steps)), 500)


def test_one_sweep_is_told_from_the_likelihood(machine: Machine) -> None:
    assert not agrees(machine, CD(num_steps=1), exact_gradient(machine), 2000)


def test_the_bias_of_cd_falls_with_every_sweep_to_nothing(machine: Machine) -> None:
    exact = exact_gradient(machine)
    bias = [float((gradient_with(machine, after_sweeps(machine, k)) - exact).norm()) for k in (1, 2, 4, 8, 64)]
    assert bias == sorted(bias, reverse=True)
    assert bias[-1] < 1e-6 < 1e-2 < bias[0]


@pytest.mark.parametrize(
    "objective",
    [
        CD(num_steps=40),
        PCD(num_chains=2000, num_steps=40),
        ParallelTempering(num_chains=500, num_temperatures=4, num_steps=20),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_long_chains_give_the_gradient_of_the_likelihood(machine: Machine, objective: NegativePhase) -> None:
    assert agrees(machine, objective, exact_gradient(machine), 500)


def test_the_loss_is_the_gap_between_data_and_chains(machine: Machine) -> None:
    outcome = play(machine, PCD(num_chains=7))
    energies = machine.pair.free_energy(machine.states[DATA]), machine.pair.free_energy(outcome.state["chains"])
    torch.testing.assert_close(outcome.loss / outcome.num_data, energies[0].mean() - energies[1].mean())
    torch.testing.assert_close(outcome.metrics["free_energy"], energies[0].mean())


def test_persistent_chains_go_on_from_step_to_step(machine: Machine) -> None:
    state = {"chains": machine.states[:6]}
    torch.manual_seed(1)
    twice = play(machine, PCD(num_chains=6), state=play(machine, PCD(num_chains=6), state=state).state)
    torch.manual_seed(1)
    at_once = play(machine, PCD(num_chains=6, num_steps=2), state=state)
    assert torch.equal(twice.state["chains"], at_once.state["chains"])
    assert not torch.equal(twice.state["chains"], state["chains"])


def test_chains_start_at_data(machine: Machine) -> None:
    program, batch = program_of(machine.pair), (machine.states[DATA],)
    found = machine.index(PCD(num_chains=50).initial_state(program, batch)["chains"])
    assert set(found.tolist()) == set(DATA)


def test_the_scale_of_the_data_reaches_the_loss(machine: Machine) -> None:
    machine.pair.data_size = 40
    assert play(machine, CD()).num_data == 40


@pytest.mark.parametrize("objective", [CD(num_steps=5), PCD(num_chains=50), ParallelTempering(num_chains=20)])
def test_training_raises_the_exact_likelihood(objective: NegativePhase) -> None:
    machine = bernoulli(scale=0.01)
    data = machine.states[DATA].float()
    split = (data,)
    before = likelihood(machine.pair, machine.states[DATA])
    spec = DataSpec("bits", 4, "binary")
    pair = machine.pair.float()
    options: dict[str, Any] = {"steps": 300, "batch_size": 4, "lr": 0.05, "eager": True}
    ppgen.fit(pair, Dataset(spec, split, split, split), objective, **options)
    assert likelihood(pair.double(), machine.states[DATA]) > before + 0.5  # of at most 4 log 2 - 1.04 = 1.73 nats


def likelihood(pair: RBM, v: Tensor) -> float:
    return float(-pair.free_energy(v).detach().mean() - pair.exact_log_z())


@pytest.mark.parametrize("objective", [PCD(num_chains=5), ParallelTempering(num_chains=3, num_temperatures=4)])
def test_a_resumed_run_ends_with_the_chains_of_one_never_stopped(objective: NegativePhase, tmp_path: Path) -> None:
    data = ppgen.load_data("digits")
    options: dict[str, Any] = {"eager": True, "schedule": "constant", "validate_every": 2}

    def fit(steps: int, name: str, *, resume: bool = False) -> ppgen.Run:
        torch.manual_seed(0)
        return ppgen.fit(RBM(data.spec, 4), data, objective, steps=steps, out=tmp_path / name, resume=resume, **options)

    whole = fit(6, "whole")
    fit(3, "parts")
    parts = fit(6, "parts", resume=True)
    for name, value in whole.pair.state_dict().items():
        assert torch.equal(value, parts.pair.state_dict()[name])
    assert whole.chains is not None
    assert parts.chains is not None
    assert torch.equal(whole.chains, parts.chains)


def test_chains_of_another_number_are_not_gone_on_from(tmp_path: Path) -> None:
    data = ppgen.load_data("digits")
    options: dict[str, Any] = {"eager": True, "steps": 1, "out": tmp_path / "run"}
    ppgen.fit(RBM(data.spec, 4), data, PCD(num_chains=5), **options)
    with pytest.raises(UsageError, match="num_chains"):
        ppgen.fit(RBM(data.spec, 4), data, PCD(num_chains=6), resume=True, **options)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CD(num_steps=0), "num_steps of CD must be a whole number of at least 1"),
        (lambda: PCD(num_chains=0), "num_chains of PCD must be"),
        (lambda: ppgen.make_objective("pcd", num_steps=1.5), "num_steps of PCD must be a whole number"),
        (lambda: ParallelTempering(num_temperatures=1), "num_temperatures of ParallelTempering must be"),
    ],
)
def test_impossible_options_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


@pytest.mark.parametrize("objective", [CD(), PCD(), ParallelTempering()], ids=lambda o: type(o).__name__)
def test_a_pair_without_a_free_energy_is_refused(objective: NegativePhase) -> None:
    data = ppgen.load_data("digits")
    vae = VAE(data.spec, 2, hidden=(4,))
    for pair, named in ((vae, "VAE"), (pair_from(vae.model, vae.guide), "FunctionPair")):
        with pytest.raises(UsageError, match=f"needs an energy-based pair, .* got _?{named}"):
            ppgen.fit(pair, data, objective, steps=1, eager=True)


@pytest.mark.parametrize("objective", [ELBO(), IWELBO()])
def test_a_bound_refuses_an_unnormalised_pair(objective: Any) -> None:
    data = ppgen.load_data("digits")
    with pytest.raises(UsageError, match="needs a normalised model, and RBM is unnormalised"):
        ppgen.fit(RBM(data.spec, 4), data, objective, steps=1, eager=True)


CHAINS: list[NegativePhase] = [PCD(num_chains=6), ParallelTempering(num_chains=3, num_temperatures=3)]
COMPILED = [(CHAINS[0], "categorical"), (CHAINS[0], "counts"), (CHAINS[1], "gaussian")]


def check_compiled(objective: NegativePhase, kind: str) -> None:
    """Compiled and eager steps draw the same chains."""
    pair = KINDS[kind]().pair.float()
    batch = (torch.tensor([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])[:, : pair.layer.num_features],)
    learner = Learner(pair, objective.parameters(pair, batch))
    state = objective.initial_state(learner.program, batch)
    owned = {name: value.detach() for name, value in learner.owned_by(Player("all")).items()}
    arguments: tuple[Any, ...] = (owned, dict(learner.named_buffers()), state, {}, batch)
    step = player_step(learner, objective, Player("all"))
    fast = compiled(step, *arguments)
    outcomes = []
    for run in (step, fast):
        torch.manual_seed(1)
        outcomes.append(run(*arguments))
    torch.testing.assert_close(outcomes[1], outcomes[0])


@cache
def operations(objective: NegativePhase, kind: str) -> frozenset[str]:
    """Those of the graph of a step, which agrees with the eager one."""
    with as_graphs() as found:
        check_compiled(objective, kind)
    return frozenset(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", CHAINS, ids=lambda objective: type(objective).__name__)
def test_the_graph_of_a_step_draws_the_chains_of_the_eager_one(objective: NegativePhase, kind: str) -> None:
    assert operations(objective, kind)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("objective", "kind"),
    COMPILED,
    ids=["PCD-categorical", "PCD-counts", "tempering-gaussian"],
)
def test_a_compiled_step_draws_the_chains_of_the_eager_one(objective: NegativePhase, kind: str) -> None:
    check_compiled(objective, kind)


def test_the_steps_that_are_compiled_hold_every_operation_of_the_others() -> None:
    every = set[str]().union(*(operations(objective, kind) for objective, kind in product(CHAINS, KINDS)))
    assert every == set[str]().union(*(operations(objective, kind) for objective, kind in COMPILED))


def test_chains_of_counts_are_handed_on_in_the_layout_they_came_in() -> None:
    """A compiled step is made for the strides of its first arguments, and draws of counts are slices."""
    data = dataset_from(1 + torch.poisson(torch.ones(30, 5)), observation="counts")
    run = ppgen.fit(RBM(data.spec, 3), data, PCD(num_chains=4), steps=2, eager=True)
    assert run.chains is not None
    assert run.chains.stride() == (5, 1)


def test_its_loss_is_no_measure_to_stop_by(tmp_path: Path) -> None:
    pair = RBM(DataSpec("bits", 4, "binary"), hidden=2)
    data = dataset_from(torch.rand(40, 4).round())
    with pytest.raises(UsageError, match="PCD validates a loss that is no measure of fit"):
        ppgen.fit(pair, data, PCD(), steps=3, patience=2, eager=True)
    ppgen.fit(pair, data, PCD(num_chains=5), steps=3, validate_every=1, eager=True, out=tmp_path / "run")
    with pytest.raises(UsageError, match="kept no best parameters"):
        ppgen.load(tmp_path / "run", data=data, which="best")
