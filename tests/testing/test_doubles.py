"""The doubles tell the truth, and one pure step function serves them all, eager and compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import ELBO, STL
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Batch, Program, run_particles
from ppgen.training.learner import Learner
from ppgen.training.steps import StepFunction, StepResult, compiled, player_step
from tests.doubles import Adversarial, Chain, Contrast, Energy, Enumerated, Line, Mixture, Shared, data
from tests.inference.truth import error_of_mean

X = data(6)
ENUMERATED = Enumerated()  # type: ignore[no-untyped-call]  # a dataclass without fields


@dataclass
class Moment:
    """All that a player's step takes."""

    step: StepFunction
    arguments: tuple[Any, ...]

    def take(self, step: StepFunction | None = None) -> StepResult:
        """One step, always on the same random numbers."""
        torch.manual_seed(0)
        return (step or self.step)(*self.arguments)


def moment(pair: Pair, objective: Objective, player: Player | None = None, batch: Batch = (X,)) -> Moment:
    learner = Learner(pair, objective.parameters(pair, batch))
    player = player or objective.players()[0]
    owned: Mapping[str, Tensor] = {name: p.detach().clone() for name, p in learner.owned_by(player).items()}
    others = {name: v.clone() for name, v in learner.state_dict().items() if name not in owned}
    state = objective.initial_state(learner.program, batch)
    return Moment(player_step(learner, objective, player), (owned, others, state, {}, batch))


CASES = {
    "chain": lambda: moment(Chain(data_size=60), STL()),
    "discrete": lambda: moment(Mixture(), ENUMERATED),
    "global": lambda: moment(Shared(data_size=60), ELBO(num_particles=2)),
    "unnormalised": lambda: moment(Energy(), ELBO(num_particles=2)),
    "critic": lambda: moment(Line(), Adversarial(), Adversarial().players()[0]),
    "generator": lambda: moment(Line(), Adversarial(), Adversarial().players()[1]),
    "state": lambda: moment(Energy(), Contrast()),
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_a_pure_function(name: str) -> None:
    now = CASES[name]()
    before = torch.utils._pytree.tree_map(torch.clone, now.arguments)
    first, second = now.take(), now.take()
    torch.testing.assert_close(first, second, rtol=0.0, atol=0.0)
    torch.testing.assert_close(now.arguments, before, rtol=0.0, atol=0.0)
    gradients, report, _, _ = first
    assert all(g.isfinite().all() for g in gradients)
    assert any(g.norm() > 0 for g in gradients)
    assert report["loss"].isfinite()


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("name", CASES)
def test_a_traced_step_is_the_eager_one_on_the_same_random_numbers(name: str) -> None:
    now = CASES[name]()
    fast = compiled(now.step, *now.arguments)
    torch.testing.assert_close(now.take(fast), now.take(), rtol=1e-12, atol=1e-14)


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_a_compiled_step_is_the_eager_one_on_the_same_random_numbers(name: str) -> None:
    now = CASES[name]()
    fast = compiled(now.step, *now.arguments)
    torch.testing.assert_close(now.take(fast), now.take(), rtol=1e-9, atol=1e-12)


def test_states_sum_to_the_exact_evidence() -> None:
    pair = Mixture()
    particles = run_particles(Program(pair.model, pair.guide), (X,), 3, given=pair.states(X))
    by_hand = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=pair.logits), torch.distributions.Normal(pair.locs, 1.0)
    ).log_prob(X[:, 0])
    torch.testing.assert_close(particles.log_p.logsumexp(0), by_hand)
    torch.testing.assert_close(particles.log_q.logsumexp(0), torch.zeros(6, dtype=torch.float64))


def test_the_gradient_of_the_enumerated_elbo_is_exact() -> None:
    pair, twin = Mixture(data_size=60), Mixture()
    loss = ENUMERATED.differentiable_loss(pair.model, pair.guide, X)
    loss.backward()
    log_q, log_p = twin.log_guide(X), twin.log_joint(X)
    exact = -10 * (log_q.exp() * (log_p - log_q)).sum()
    exact.backward()
    torch.testing.assert_close(loss, exact)
    for parameter, by_hand in zip(pair.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, by_hand.grad)


def test_the_bound_of_an_unnormalised_pair_is_below_its_log_density_and_reaches_it() -> None:
    pair, x = Energy(), torch.tensor([[1.3]], dtype=torch.float64)
    exact = float(pair.log_unnormalised(x).detach())
    draws = run_particles(Program(pair.model, pair.guide), (x,), 20_000).log_w.detach()
    assert float(draws.mean()) < exact
    assert float(draws.exp().mean()) == pytest.approx(
        float(torch.tensor(exact).exp()), abs=3 * error_of_mean(draws.exp())
    )
    with torch.no_grad():
        pair.slope.copy_(pair.coupling)
        pair.log_scale.zero_()
    landed = run_particles(Program(pair.model, pair.guide), (x,), 10).log_w
    torch.testing.assert_close(landed, pair.log_unnormalised(x).expand(10, 1))


def test_the_normaliser_of_the_unnormalised_pair_is_its_integral() -> None:
    pair = Energy()
    grid = torch.linspace(-15, 15, 20_001, dtype=torch.float64)
    integral = torch.trapezoid(pair.log_unnormalised(grid[:, None]).exp(), grid).log()
    torch.testing.assert_close(integral, pair.log_z())


def test_chains_from_the_model_give_the_gradient_of_the_likelihood() -> None:
    """At the model's own distribution the gradient is that of log p(x), within 4 standard errors."""
    pair, size, rounds = Energy(), 2_000, 50
    with torch.no_grad():
        pair.slope.copy_(pair.coupling)
        pair.log_scale.zero_()
    precision = 1 - pair.coupling.detach().square()
    objective, program = Contrast(num_chains=size), Program(pair.model, pair.guide)
    found = []
    for _ in range(rounds):
        noise = torch.randn(size, 1, dtype=torch.float64)
        chain = (pair.loc.detach() / precision) + noise / precision.sqrt()
        loss = objective.play("all", program, (X,), {"chain": chain}).loss
        found.append(torch.stack(torch.autograd.grad(loss, [pair.coupling, pair.loc])))
    draws = torch.stack(found)
    likelihood = (pair.log_unnormalised(X) - pair.log_z()).sum()
    exact = -torch.stack(torch.autograd.grad(likelihood, [pair.coupling, pair.loc]))
    assert ((draws.mean(0) - exact).abs() < 4 * draws.std(0) / rounds**0.5).all()


def test_state_goes_in_and_comes_out() -> None:
    now = CASES["state"]()
    owned, others, state, values, batch = now.arguments
    assert torch.equal(state["chain"], torch.zeros(10, 1, dtype=torch.float64))
    _, _, first, _ = now.step(owned, others, state, values, batch)
    _, _, second, _ = now.step(owned, others, first, values, batch)
    assert first["chain"].shape == second["chain"].shape == (10, 1)
    assert not torch.equal(first["chain"], second["chain"])
    assert not first["chain"].requires_grad


def test_each_player_moves_its_own_parameters() -> None:
    pair, objective = Line(), Adversarial(critic_steps=5)
    learner = Learner(pair, objective.parameters(pair, (X,)))
    critic, generator = objective.players()
    assert (critic.steps, generator.steps) == (5, 1)
    assert {name.split(".")[0] for name in learner.owned_by(critic)} == {"objective"}
    assert {name.split(".")[0] for name in learner.owned_by(generator)} == {"pair"}
    gradients, _, _, _ = moment(pair, objective, generator).take()
    by_name = dict(zip(learner.owned_by(generator), gradients, strict=True))
    assert by_name["pair.weight"] != 0
    assert by_name["pair.slope"] == 0  # the guide has no part in the game


def test_a_player_without_parameters_is_a_sentence() -> None:
    learner = Learner(Line(), torch.nn.Module())
    with pytest.raises(UsageError, match=r"nothing to train, no parameter of player 'critic' \(objective\.\*\)"):
        learner.owned_by(Adversarial().players()[0])


@dataclass(frozen=True, kw_only=True)
class _Swapping(ELBO):
    """Hands its two tensors on in the other order."""

    def initial_state(self, program: Program, batch: Batch) -> State:
        return {"one": torch.tensor(1.0), "ten": torch.tensor(10.0)}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        outcome = super().play(player, program, batch, state)
        return Outcome(outcome.loss, outcome.num_data, {}, {"ten": state["ten"] + 10, "one": state["one"] + 1})


@pytest.mark.usefixtures("graphs_as_they_are")
def test_a_compiled_step_knows_state_by_name_and_not_by_order() -> None:
    now = moment(Line(), _Swapping())
    fast = compiled(now.step, *now.arguments)
    owned, others, state, values, batch = now.arguments
    for _ in range(3):
        _, _, state, _ = fast(owned, others, state, values, batch)
    assert {name: float(value) for name, value in state.items()} == {"one": 4.0, "ten": 40.0}
