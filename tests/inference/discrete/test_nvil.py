"""NVIL with a signal for each layer: unbiased, with less noise than one signal for all, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.errors import UsageError
from ppgen.inference import NVIL
from ppgen.inference.discrete import nvil
from ppgen.pairs.tracing import Particles
from ppgen.training.learner import Learner
from tests.discrete_doubles import Blend, Choice, DiscreteDouble, TinyDeepSBN, exact_gradient
from tests.inference.discrete.discrete_harness import blocks_of, moments
from tests.inference.discrete.discrete_truth import CRITICAL
from tests.inference.truth import elbo

LAYERED = NVIL(layered=True, normalise=False, hidden=(4,))


@pytest.mark.parametrize("double", [TinyDeepSBN, Blend, Choice], ids=lambda double: double.__name__)
@pytest.mark.parametrize("num_particles", [1, 2])
def test_the_gradient_is_the_exact_one(double: type[DiscreteDouble], num_particles: int) -> None:
    """Networks and running means at random places: it must be right at all of them."""
    objective = LAYERED.holding({"num_particles": num_particles})
    found = moments(objective, double, exact_gradient(double(), elbo, 1), 3)
    assert found.largest_z < CRITICAL


def test_a_baseline_that_sees_its_own_layer_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(particles: Particles) -> list[Tensor]:
        x = particles.batch[0].expand(particles.num_particles, -1, -1)
        both = torch.cat([particles.guide_sites[name]["value"] for name in ("z1", "z2")], -1)
        return [torch.cat([x, both[..., :end]], -1) for end in (2, 4)]

    monkeypatch.setattr(nvil, "_seen", too_much)
    found = moments(LAYERED, TinyDeepSBN, exact_gradient(TinyDeepSBN(), elbo, 1), 4)
    assert max(found.largest_z, abs(found.z_of(blocks_of(TinyDeepSBN)["guide"]))) > CRITICAL


def second_layer(layered: bool) -> float:
    """The variance of the second layer's gradient, once its baseline has learned for a while."""
    torch.manual_seed(0)
    pair, objective = TinyDeepSBN(2_000), NVIL(layered=layered, normalise=False, hidden=(8,))
    program = Learner(pair, objective.parameters(pair, pair.batch)).program
    own: Any = program.own
    state, optimizer = objective.initial_state(program, pair.batch), torch.optim.Adam(own.parameters(), lr=0.03)
    for _ in range(100):
        outcome = objective.play("all", program, pair.batch, state)
        for parameter, gradient in zip(
            own.parameters(), torch.autograd.grad(outcome.loss / 2_000, list(own.parameters())), strict=True
        ):
            parameter.grad = gradient
        optimizer.step()
        state = outcome.state
    loss = objective.play("all", program, pair.batch, state).loss
    return sum(float(g.var(0).sum()) for g in torch.autograd.grad(loss, [pair.slope2, pair.offset2]))


@pytest.mark.thorough
def test_the_second_layer_has_less_noise_by_a_baseline_that_sees_the_first() -> None:
    assert second_layer(True) < 0.9 * second_layer(False)


def test_a_network_for_each_layer_sees_the_layers_before() -> None:
    pair = TinyDeepSBN()
    own: Any = LAYERED.parameters(pair, pair.batch)
    assert [network.layers[0].in_features for network in own] == [3, 3 + 2]
    learner = Learner(pair, own)
    state = LAYERED.initial_state(learner.program, pair.batch)
    outcome = LAYERED.play("all", learner.program, pair.batch, state)
    assert outcome.state["centre"].shape == (2,)
    gradients = torch.autograd.grad(outcome.loss, list(own.parameters()))
    assert all(bool(gradient.abs().sum() > 0) for gradient in gradients[-2:])


def test_a_step_of_a_belief_network_trains_it() -> None:
    pair = ppgen.models.SBN(ppgen.DataSpec("bits", 6, "binary"), layers=(4, 2))
    objective = NVIL(layered=True)
    assert (objective.unbiased_gradient, objective.splits_particles) == (False, False)
    loss = objective.differentiable_loss(pair.model, pair.guide, torch.ones(3, 6))
    loss.backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in pair.parameters() if p.grad is not None)


def test_a_bound_that_is_no_mean_has_no_signals_of_layers() -> None:
    with pytest.raises(UsageError, match="layered of NVIL is for a bound that is a mean of log-weights"):
        NVIL(layered=True, bound="iwelbo", num_particles=3)
