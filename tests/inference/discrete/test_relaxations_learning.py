"""What REBAR, RELAX and MuProp learn for themselves, and how much noise it takes from the gradient."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen.inference import REBAR, REINFORCE, RELAX, RODEO, MuProp
from ppgen.pairs.tracing import Program
from ppgen.training.learner import Learner
from tests.discrete_doubles import Choice, CloseCoin, Coin, DiscreteDouble, TinyDeepSBN, TinySBN, gradient_draws
from tests.inference.discrete.discrete_harness import learnt, schooled
from tests.inference.discrete.discrete_truth import total_variance


def noise(objective: Any, pair: DiscreteDouble, own: nn.Module, state: Any) -> Any:
    """sum |G|^2 over copies, G the guide's gradient by its logits: that by offsets, one for each copy and layer."""
    torch.manual_seed(5)
    offsets = [p for name, p in pair.named_parameters() if name.startswith("offset")]
    outcome = objective.play("all", Program(pair.model, pair.guide, own), pair.batch, state)
    found = torch.autograd.grad(outcome.loss, offsets, retain_graph=True)
    return sum(float(g.square().sum()) for g in found), outcome


@pytest.mark.parametrize(
    "objective", [REBAR(), RELAX(hidden=(4,)), RODEO(hidden=(4,))], ids=lambda objective: type(objective).__name__
)
@pytest.mark.parametrize("double", [TinySBN, TinyDeepSBN, Choice], ids=lambda double: double.__name__)
def test_the_control_variate_descends_the_sum_of_squares(objective: Any, double: type[DiscreteDouble]) -> None:
    """Central differences of the sum of squares under one seed, in every own parameter but eta."""
    pair = double(200)
    own = learnt(objective, pair)
    state = objective.initial_state(Program(pair.model, pair.guide, own), pair.batch)
    named = {name: p for name, p in own.named_parameters() if name != "eta"}
    _, outcome = noise(objective, pair, own, state)
    claimed = dict(zip(named, torch.autograd.grad(outcome.loss, list(named.values())), strict=True))
    for name, parameter in named.items():
        step = torch.zeros_like(parameter).flatten()
        step[-1] = 1e-5
        sums = []
        for sign in (1, -1):
            parameter.data.add_(sign * step.view_as(parameter))
            sums.append(noise(objective, pair, own, state)[0])
            parameter.data.sub_(sign * step.view_as(parameter))
        difference = (sums[0] - sums[1]) / 2e-5
        assert math.isclose(float(claimed[name].flatten()[-1]), difference, rel_tol=1e-5, abs_tol=1e-5), name


def test_the_gradient_by_eta_lets_the_baseline_follow() -> None:
    """Moving eta moves the mean of log w - eta log w(relaxed), which is where the running mean goes."""
    pair, objective = TinySBN(200), REBAR(temperature=0.7)
    own: Any = objective.parameters(pair, pair.batch)
    start = torch.tensor([0.1], dtype=torch.float64)

    def at(eta: float, centre: Tensor) -> Any:
        with torch.no_grad():
            own.eta.fill_(eta)
        return noise(objective, pair, own, {"centre": centre})

    def left(eta: float) -> Tensor:
        following: Tensor = at(eta, start)[1].state["centre"]
        return (following - 0.8 * start) / 0.2  # the decay of the running mean is 0.8

    _, outcome = at(0.9, start)
    (claimed,) = torch.autograd.grad(outcome.loss, [own.eta])
    slope = left(1.0) - left(0.0)
    difference = (at(0.9 + 1e-5, start + 1e-5 * slope)[0] - at(0.9 - 1e-5, start - 1e-5 * slope)[0]) / 2e-5
    assert math.isclose(float(claimed), difference, rel_tol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("double", [Coin, CloseCoin], ids=lambda double: double.__name__)
def test_learning_lowers_the_variance_on_the_toy(double: type[DiscreteDouble]) -> None:
    """(b - t)^2 with t = 0.45 and 0.499; the ratios measured are 8 and more, from 10,000 draws at each end."""
    (before, rebar), (_, relax) = (schooled(o, double, ("logit",)) for o in (REBAR(), RELAX(hidden=(8,))))
    plain = schooled(REINFORCE(num_particles=1, baseline="none"), double, ("logit",), steps=0)[0]
    assert before < plain / 4
    assert rebar < before / 4
    assert relax < before / 4


@pytest.mark.thorough
def test_the_variance_of_layers_is_ordered_as_the_papers_order_it() -> None:
    """RELAX < REBAR < the score function with a running mean, on two layers: measured 0.25, 0.29, 0.63."""
    guide = ("slope1", "offset1", "slope2", "offset2")
    mean = schooled(REINFORCE(num_particles=1, baseline="moving_average"), TinyDeepSBN, guide, steps=40)[1]
    rebar, relax = (schooled(o, TinyDeepSBN, guide)[1] for o in (REBAR(), RELAX(hidden=(8,))))
    assert 1.5 * rebar < mean
    assert relax < rebar


def test_muprop_leaves_no_noise_where_log_weights_are_linear() -> None:
    """A reward that is a weighted sum of bits, less log q, is linear in them."""

    class Linear(TinySBN):
        def model(self, x: Tensor) -> None:
            with self.data_plate(x):
                z = pyro.sample("z", dist.Bernoulli(logits=self.prior).to_event(1))
                pyro.factor("reward", (z * self.weight.sum(-1)).sum(-1))

    variance = total_variance(gradient_draws(MuProp(), Linear(2000)), ("slope", "offset"))
    assert variance < 1e-20
    plain = REINFORCE(num_particles=1, baseline="moving_average")
    assert total_variance(gradient_draws(plain, Linear(2000)), ("slope", "offset")) > 0.01


@pytest.mark.parametrize("objective", [REBAR(temperature=0.3, eta=0.8), RELAX(), RODEO(eta=0.8)], ids=str)
def test_in_svi_the_control_variate_stays_as_it_begins(objective: Any) -> None:
    pair, state = TinyDeepSBN(3), {"centre": torch.zeros(2, dtype=torch.float64)}
    found = []
    for own in (None, objective.parameters(pair, pair.batch)):
        torch.manual_seed(4)
        loss = objective.play("all", Program(pair.model, pair.guide, own), pair.batch, state).loss
        found.append(torch.autograd.grad(loss, list(pair.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_control_variate_that_is_not_adaptive_has_nothing_to_learn() -> None:
    pair = TinyDeepSBN()
    learner = Learner(pair, REBAR(adaptive=False, temperature=1, eta=1).parameters(pair, pair.batch))
    (player,) = REBAR().players()
    assert all(name.startswith("pair.") for name in learner.owned_by(player))
    assert {n: tuple(p.shape) for n, p in REBAR().parameters(pair, pair.batch).named_parameters()} == {
        "log_temperature": (2,),
        "eta": (2,),
    }
