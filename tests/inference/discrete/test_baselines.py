"""What the score function is measured against: the other particles, a running mean, a learned baseline."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.inference import ELBO, IWELBO, NVIL, REINFORCE, Renyi
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.discrete.baselines import Learned, LeaveOneOut, MovingAverage
from ppgen.objectives.discrete.score_function import ScoreFunction, without_own
from ppgen.objectives.turns import State
from ppgen.pairs.tracing import Program, run_particles
from ppgen.testing.yardsticks import BernoulliYardstick
from ppgen.training.learner import Learner
from ppgen.training.steps import compiled, player_step
from tests.discrete_doubles import TinySBN
from tests.inference.truth import iwelbo


@pytest.mark.parametrize("bound", [ELBO(num_particles=3), IWELBO(num_particles=3), Renyi(num_particles=3)])
def test_what_a_bound_is_without_a_particle_is_that_of_replaced_log_weights(bound: Reduction) -> None:
    log_w, predicted = torch.randn(2, 3, 4, dtype=torch.float64)
    others, weights = without_own(bound, log_w, predicted)
    for k in range(3):
        replaced = torch.cat([log_w[:k], predicted[k : k + 1], log_w[k + 1 :]])
        torch.testing.assert_close(others[k], bound.reduce(replaced))
        torch.testing.assert_close(weights[k], bound.weights(replaced)[k])


def test_leave_one_out_of_the_elbo_is_the_difference_to_the_mean_of_the_others() -> None:
    log_w = torch.randn(4, 5, dtype=torch.float64)
    objective = REINFORCE(num_particles=4)
    signal = objective.signal(log_w, objective.predictor.predict(log_w, (log_w,), None, {}))
    others = torch.stack([torch.cat([log_w[:k], log_w[k + 1 :]]).mean(0) for k in range(4)])
    torch.testing.assert_close(signal, (log_w - others) / 4)


def test_the_arithmetic_mean_of_the_others_leaves_the_particle_out_of_the_bound() -> None:
    log_w = torch.randn(4, 5, dtype=torch.float64)
    predicted = LeaveOneOut(arithmetic=True).predict(log_w, (log_w,), None, {})
    without, _ = without_own(IWELBO(num_particles=4), log_w, predicted)
    others = torch.stack([iwelbo(torch.cat([log_w[:k], log_w[k + 1 :]])) for k in range(4)])
    torch.testing.assert_close(without, others)


def test_the_running_mean_and_variance_start_at_those_of_a_draw() -> None:
    log_w = torch.tensor([[5.0, 7.0], [9.0, 11.0]], dtype=torch.float64)
    state = MovingAverage(normalise=True).initial_state(log_w)
    assert {name: value.item() for name, value in state.items()} == {"centre": 8.0, "variance": 5.0}


def test_the_running_mean_and_variance_move_by_the_share_that_does_not_decay() -> None:
    baseline, log_w = MovingAverage(normalise=True, decay=0.9), torch.tensor([[5.0, 7.0], [9.0, 11.0]])
    state = {"centre": torch.tensor(6.0), "variance": torch.tensor(3.0)}
    found = baseline.next_state(log_w, baseline.predict(log_w, (log_w,), None, state), state)
    assert float(found["centre"]) == pytest.approx(0.9 * 6 + 0.1 * 8)
    assert float(found["variance"]) == pytest.approx(0.9 * 3 + 0.1 * (1 + 1 + 9 + 25) / 4)


@pytest.mark.parametrize("num_particles", [1, 3])
def test_a_learned_baseline_is_trained_by_least_squares_and_leaves_the_gradient_of_the_pair_alone(
    num_particles: int,
) -> None:
    pair, objective = TinySBN(), NVIL(hidden=(4,), normalise=False, num_particles=num_particles)
    x = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    own = objective.parameters(pair, (x,))
    program = Program(pair.model, pair.guide, own)
    state = objective.initial_state(program, (x,))
    torch.manual_seed(1)
    outcome = objective.play("all", program, (x,), state)
    found = torch.autograd.grad(outcome.loss, list(own.parameters()))
    torch.manual_seed(1)
    log_w = run_particles(program, (x,), num_particles).log_w.detach()
    residual = log_w - objective.predictor.predict(log_w, (x,), own, state)
    expected = torch.autograd.grad(residual.square().mean(0).sum() / 2, list(own.parameters()))
    for gradient, other in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, other)
    torch.testing.assert_close(outcome.state["centre"], state["centre"] + 0.2 * residual.mean().detach())


@pytest.mark.usefixtures("graphs_as_they_are")
def test_a_learned_baseline_predicts_log_weights_better_and_lowers_the_variance() -> None:
    """On two data whose log-weights differ by 60 nats, which one running mean cannot tell apart."""

    class Apart(BernoulliYardstick):
        def model(self, x: Tensor) -> None:
            with self.data_plate(x):
                z = pyro.sample("z", dist.Bernoulli(logits=torch.zeros_like(self.w)))
                pyro.factor("x", 30 * x.sign() - (x - self.w * z).square())

    def variance(objective: ScoreFunction) -> float:
        torch.manual_seed(0)
        pair, batch = Apart(), (torch.tensor([-1.0, 1.5], dtype=torch.float64).repeat(8),)
        learner = Learner(pair, objective.parameters(pair, batch))
        (player,) = objective.players()
        own = dict(learner.objective.named_parameters())
        optimizer = torch.optim.Adam(own.values(), lr=0.1) if own else None
        state, seen = objective.initial_state(learner.program, batch), []
        step = compiled(player_step(learner, objective, player), dict(learner.owned_by(player)), {}, state, {}, batch)
        for turn in range(400):
            owned = learner.owned_by(player)
            gradients, _, state, _ = step(dict(owned), {}, state, {}, batch)
            if optimizer is not None:
                for name, gradient in zip(owned, gradients, strict=True):
                    owned[name].grad = gradient
                optimizer.step()
            if turn >= 300:
                seen.append(gradients[list(owned).index("pair.b")])
        return float(torch.stack(seen).var())

    learned, mean = NVIL(hidden=(8,), normalise=False), REINFORCE(num_particles=1, baseline="moving_average")
    assert 20 * variance(learned) < variance(mean)


def test_normalised_signals_are_divided_by_their_running_deviation() -> None:
    baseline = Learned(normalise=True, decay=0.5)
    state: State = {"centre": torch.tensor(1.0), "variance": torch.tensor(16.0)}
    log_w = torch.tensor([[3.0, 5.0]])
    assert float(baseline.unit(state)) == 4.0
    following = baseline.next_state(log_w, torch.tensor([[1.0, 1.0]]), state)
    assert float(following["centre"]) == 2.5  # 1 + (2 + 4) / 2 / 2
    assert float(following["variance"]) == 13.0  # (16 + (4 + 16) / 2) / 2
    assert float(baseline.unit({"variance": torch.tensor(0.01)})) == 1.0
    assert not NVIL().unbiased_gradient
    assert REINFORCE(baseline=MovingAverage()).unbiased_gradient


def test_normalising_scales_the_gradient_of_the_guide_alone() -> None:
    pair = TinySBN()
    program = Program(pair.model, pair.guide)
    state = {"centre": torch.tensor(-2.0, dtype=torch.float64), "variance": torch.tensor(9.0, dtype=torch.float64)}
    found = []
    for normalise in (True, False):
        torch.manual_seed(2)
        loss = NVIL(normalise=normalise).play("all", program, pair.batch, state).loss
        found.append(
            dict(zip(dict(pair.named_parameters()), torch.autograd.grad(loss, list(pair.parameters())), strict=True))
        )
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient * (3 if name in ("slope", "offset") else 1), found[1][name])
