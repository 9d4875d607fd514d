"""The Boltzmann machine against sums over all of its states."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import PCD
from ppgen.models import Boltzmann
from ppgen.models.energy import boltzmann
from ppgen.objectives.negative_phase import NegativePhase
from ppgen.objectives.turns import State
from ppgen.pairs.parameters import isolated
from ppgen.testing.sandbox import program_of

VISIBLE = 3


def product(units: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)), dtype=torch.float64)


def machine(hidden: int, temperature: float = 1.3) -> Boltzmann:
    torch.manual_seed(3)
    spec = DataSpec("bits", VISIBLE, "binary", mean=torch.tensor([0.2, 0.5, 0.7]))
    pair = Boltzmann(spec, hidden, temperature=temperature).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.copy_(0.8 * torch.randn_like(parameter))
        pair.weight.copy_(torch.triu(pair.weight, 1) + torch.triu(pair.weight, 1).T)
    return pair


@pytest.fixture(params=[0, 2])
def pair(request: pytest.FixtureRequest) -> Boltzmann:
    return machine(request.param)


def minus_energy(pair: Boltzmann, s: Tensor) -> float:
    """log p~(s) of one state, term by term."""
    bias, weight = torch.cat([pair.visible_bias, pair.hidden_bias]).detach(), pair.weight.detach()
    pairs = sum(float(weight[i, j] * s[i] * s[j]) for i in range(len(s)) for j in range(i + 1, len(s)))
    return (float(s @ bias) + pairs) / pair.temperature


def joint(pair: Boltzmann, v: Tensor) -> Tensor:
    """log p~(v, h) of every h, (2^H,)."""
    return torch.tensor([minus_energy(pair, torch.cat([v, h])) for h in product(pair.hidden)], dtype=torch.float64)


def probabilities(pair: Boltzmann, b: float = 1.0) -> Tensor:
    with torch.no_grad():
        return pair.log_tempered(product(len(pair.weight)), b).softmax(0)


@dataclass(frozen=True, kw_only=True)
class Drawn(NegativePhase):
    """A negative phase read off given states."""

    num_steps: int = 1
    states: Any = None

    def negative(self, pair: Any, v: Tensor, state: State) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        return self.states, {}, {}


def test_a_state_has_the_energy_of_the_formula(pair: Boltzmann) -> None:
    states = product(len(pair.weight))
    expected = torch.tensor([minus_energy(pair, s) for s in states], dtype=torch.float64)
    torch.testing.assert_close(pair.log_tempered(states, 1.0).detach(), expected)


def test_the_free_energy_sums_the_hidden_units_out(pair: Boltzmann) -> None:
    v = product(VISIBLE)
    expected = torch.stack([-joint(pair, one).logsumexp(0) for one in v])
    torch.testing.assert_close(pair.free_energy(v).detach(), expected)


def test_every_log_weight_is_minus_the_free_energy(pair: Boltzmann) -> None:
    v = product(VISIBLE)
    log_w = ppgen.log_weights(pair, (v,), num_particles=5)
    torch.testing.assert_close(log_w, -pair.free_energy(v).detach().expand(5, -1))


def test_the_guide_is_the_exact_posterior() -> None:
    pair = machine(2)
    for v in product(VISIBLE):
        log_q = pair.posterior(v[None]).log_prob(product(2)).detach()
        torch.testing.assert_close(log_q, joint(pair, v).log_softmax(0))


def test_log_z_is_the_sum_over_all_states(pair: Boltzmann) -> None:
    expected = torch.stack([joint(pair, v).logsumexp(0) for v in product(VISIBLE)]).logsumexp(0)
    torch.testing.assert_close(pair.exact_log_z(), expected)


def test_annealing_ends_at_log_z(pair: Boltzmann) -> None:
    found = ppgen.log_z(pair, num_temperatures=200, num_chains=200)
    assert found.value == pytest.approx(float(pair.exact_log_z()), abs=5 * found.standard_error)


def test_with_chains_that_are_draws_of_the_machine_the_loss_has_the_gradient_of_the_likelihood(pair: Boltzmann) -> None:
    """Minus log p(v) by the sum over all states; z-tests of all numbers together, false alarms below 1 in 10,000."""
    torch.manual_seed(5)
    states, data = product(len(pair.weight)), product(VISIBLE)[[1, 4, 4, 7]]
    leaves, p = list(pair.parameters()), probabilities(pair)
    exact = pair.free_energy(data).mean() + pair.log_tempered(states, 1.0).logsumexp(0)
    expected = parameters_to_vector(torch.autograd.grad(exact, leaves))

    def draw() -> Tensor:
        chains = states[torch.multinomial(p, 200, replacement=True)]
        loss = Drawn(states=chains).play("all", program_of(pair), (data,), {}).loss / len(data)
        return parameters_to_vector(torch.autograd.grad(loss, leaves))

    found = torch.stack([draw() for _ in range(60)])
    off = (found.mean(0) - expected).abs()
    assert bool((off < 5 * found.std(0) / math.sqrt(len(found)) + 1e-12).all())


def test_beyond_what_is_summed_the_free_energy_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = machine(4).free_energy(product(VISIBLE)).detach()
    monkeypatch.setattr(boltzmann, "SUMMED", 3)
    pair = machine(4)
    bound = pair.free_energy(product(VISIBLE)).detach()
    assert not pair.free_energy_is_exact
    assert bool((bound >= exact - 1e-12).all())
    assert bool((bound < exact + 0.5).all())


def test_the_mean_field_is_a_fixed_point(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, v = machine(4), product(VISIBLE)
    m = pair.mean_field(v)
    with torch.no_grad():
        logits = v @ pair.weight[:VISIBLE, VISIBLE:] + pair.hidden_bias + m @ pair.weight[VISIBLE:, VISIBLE:]
        torch.testing.assert_close(m, (logits / pair.temperature).sigmoid(), rtol=0, atol=1e-6)


def test_training_keeps_the_weights_symmetric() -> None:
    torch.manual_seed(2)
    x = torch.rand(40, VISIBLE).round()
    run = ppgen.fit(machine(2).float(), x, PCD(num_chains=10), steps=5, seed=0, eager=True)
    weight = run.pair.weight.detach()
    torch.testing.assert_close(weight, weight.T, rtol=0, atol=0)
    assert bool((weight.diagonal() == 0).all())


def test_a_fully_visible_machine_learns_the_correlations_of_its_data() -> None:
    """Its expected s s' are the data's, where the likelihood is at its greatest."""
    torch.manual_seed(4)
    first = torch.rand(2000, 1).round()
    x = torch.cat([first, (first + (torch.rand(2000, 1) < 0.1)) % 2, torch.rand(2000, 1).round()], 1)
    pair, states = Boltzmann(DataSpec("bits", 3, "binary")), product(3)
    ppgen.fit(pair, x, PCD(num_chains=500), steps=600, lr=0.02, seed=0, eager=True)
    pair.double()
    moments = states.T @ (probabilities(pair)[:, None] * states)
    torch.testing.assert_close(moments, (x.T @ x / len(x)).double(), rtol=0, atol=0.05)


@pytest.mark.thorough
def test_a_fully_visible_machine_goes_the_whole_way(tmp_path: Path) -> None:
    """It has no latents: ArviZ's file holds its weights alone."""
    torch.manual_seed(6)
    x = torch.rand(60, VISIBLE).round()
    data = ppgen.dataset_from(x)
    run = ppgen.fit(Boltzmann(data.spec), data, "pseudolikelihood", steps=20, seed=0, eager=True, out=tmp_path / "run")
    found = run.evaluate(log_z=ppgen.log_z(run.pair, exact=True))
    assert found.method == "enumerated"
    assert run.diagnose(questions=["mixing"], num_data=6)["mixing"].status != "unknown"
    assert ppgen.load(tmp_path / "run", data=data).diagnosis is not None
    assert (tmp_path / "run" / "posterior.nc").exists()
    assert run.report().exists()


def test_data_that_are_not_binary_are_refused() -> None:
    with pytest.raises(UsageError, match="bernoulli layer needs binary data"):
        Boltzmann(DataSpec("numbers", 3, "real"))


def test_more_states_than_can_be_summed_are_refused() -> None:
    with pytest.raises(UsageError, match=r"2\*\*23 states"):
        ppgen.log_z(Boltzmann(DataSpec("bits", 20, "binary"), 3), exact=True)


def test_one_unit_of_no_weight_has_the_temperature_in_its_rate() -> None:
    pair = Boltzmann(DataSpec("bit", 1, "binary"), temperature=2.0).double()
    with isolated(), torch.no_grad():
        pair.visible_bias.fill_(2 * math.log(3.0))
    torch.testing.assert_close(probabilities(pair), torch.tensor([0.25, 0.75], dtype=torch.float64))
