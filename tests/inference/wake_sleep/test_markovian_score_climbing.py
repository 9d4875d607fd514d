"""The chain keeps the posterior, and at the posterior the weighted scores are without bias at few particles."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.errors import UsageError
from ppgen.inference import RWS, MarkovianScoreClimbing
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.tracing import Program
from tests.doubles import Line, Mixture
from tests.inference.mutants import FreshParticlesAlone
from tests.inference.truth import CRITICAL, Parameters, X, error_of_mean, exact_gradient, z_scores

COPIES = 30_000
CHAIN = MarkovianScoreClimbing(num_particles=3)


def posterior(parameters: Parameters) -> tuple[Tensor, Tensor]:
    """Mean and variance of z given X."""
    precision = (-2 * parameters["log_noise"]).exp()
    variance = 1 / (1 + parameters["weight"].square() * precision)
    return variance * parameters["weight"] * precision * (X - parameters["loc"]), variance


def expected(parameters: Parameters) -> Tensor:
    """log p(X) of the model, and E_p log q of the guide, whose posterior p is held fixed."""
    mean, variance = (part.detach() for part in posterior(parameters))
    spread = parameters["weight"].square() + (2 * parameters["log_noise"]).exp()
    evidence = -(spread.log() + (X - parameters["loc"]).square() / spread) / 2
    off = variance + (mean - parameters["slope"] * X - parameters["shift"]).square()
    return evidence - parameters["log_scale"] - off * (-2 * parameters["log_scale"]).exp() / 2


def step(objective: Objective, pair: Line, state: State) -> Outcome:
    x = torch.full((COPIES, 1), X, dtype=torch.float64)
    return objective.play("all", Program(pair.model, pair.guide), (x,), state)


@pytest.fixture
def at_limit() -> State:
    mean, variance = posterior(Line().state_dict())
    return {"z.z": mean + variance.sqrt() * torch.randn(1, COPIES, dtype=torch.float64)}


def off_posterior(state: State) -> float:
    """The largest z-score of the mean and of the second moment of the state."""
    mean, variance = posterior(Line().state_dict())
    unit = (state["z.z"].flatten() - mean) / variance.sqrt()
    moments = ((unit, 0.0), (unit.square(), 1.0))
    return max(abs(float(moment.mean() - exact)) / error_of_mean(moment) for moment, exact in moments)


def test_the_posterior_is_its_limit(at_limit: State) -> None:
    pair, state = Line(), at_limit
    for _ in range(3):
        state = step(CHAIN, pair, state).state
    assert off_posterior(state) < CRITICAL
    assert not torch.equal(state["z.z"], at_limit["z.z"])
    start = CHAIN.initial_state(Program(pair.model, pair.guide), (torch.full((COPIES, 1), X, dtype=torch.float64),))
    assert off_posterior(start) > CRITICAL
    for _ in range(25):
        start = step(CHAIN, pair, start).state
    assert off_posterior(start) < CRITICAL


def scores(objective: Objective, state: State) -> dict[str, float]:
    pair = Line(COPIES)
    parameters = dict(pair.named_parameters())
    gradients = torch.autograd.grad(-step(objective, pair, state).loss, list(parameters.values()))
    return z_scores(dict(zip(parameters, gradients, strict=True)), exact_gradient(expected, Line()))


def test_at_the_limit_model_and_guide_have_no_bias(at_limit: State) -> None:
    assert max(map(abs, scores(CHAIN, at_limit).values())) < CRITICAL
    assert max(map(abs, scores(RWS(num_particles=3, sleep=0.0), {}).values())) > CRITICAL
    assert max(map(abs, scores(FreshParticlesAlone(num_particles=3), at_limit).values())) > CRITICAL


def test_discrete_latents_are_moved_to_their_posterior() -> None:
    pair, x = Mixture(), torch.full((8_000, 1), 0.4, dtype=torch.float64)
    program = Program(pair.model, pair.guide)
    state = CHAIN.initial_state(program, (x,))
    for _ in range(15):
        state = CHAIN.play("all", program, (x,), state).state
    exact = pair.log_joint(x[:1]).softmax(0).flatten()  # (3,)
    found = torch.bincount(state["z.z"].flatten(), minlength=3) / len(x)
    assert ((found - exact).abs() < 4.5 * (exact * (1 - exact) / len(x)).sqrt()).all()


def test_the_state_goes_on_in_training_and_held_out_data_have_no_part_in_it() -> None:
    pair, x = Line(), torch.randn(6, 1, dtype=torch.float64)
    program = Program(pair.model, pair.guide)
    state = CHAIN.initial_state(program, (x,))
    pair.eval()
    held_out = CHAIN.play("all", program, (x[:4],), state)
    assert torch.equal(held_out.state["z.z"], state["z.z"])
    assert held_out.num_data == 4


def test_a_part_of_the_data_is_refused() -> None:
    pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real", num_data=20))
    with pytest.raises(UsageError, match="of each of 20 data from step to step, got a batch of 5: train with"):
        CHAIN.check(Program(pair.model, pair.guide), (torch.zeros(5, 3),))
