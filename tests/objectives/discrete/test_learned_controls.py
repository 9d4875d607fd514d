"""What a control variate learns by is the derivative of its gradient's noise, by all of its parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ppgen.inference import REBAR, RELAX, RODEO
from ppgen.objectives.discrete.control_variates import RelaxedControl
from ppgen.pairs.tracing import Program
from tests.discrete_doubles import TinyDeepSBN
from tests.inference.discrete.discrete_harness import learnt

STEP = 1e-5


@pytest.mark.parametrize("objective", [REBAR(), RELAX(), RODEO()], ids=lambda objective: type(objective).__name__)
def test_it_descends_the_noise_of_the_gradient_that_it_is_part_of(objective: Any) -> None:
    """Against differences of the noise, of the same draws, along a random direction of each parameter."""
    pair = TinyDeepSBN(5)
    control = learnt(objective, pair)
    program = Program(pair.model, pair.guide, control)
    state = objective.initial_state(program, pair.batch)

    def noise() -> float:
        torch.manual_seed(0)
        particles, states = objective._drawn(program, pair.batch)
        gradients, _ = objective.gradients(particles, states, control, pair.batch, state)
        return float(sum(objective.noise(gradient).detach() for gradient in gradients.values()))

    def difference(parameter: Tensor, direction: Tensor) -> float:
        found = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * STEP * direction)
            found.append(noise())
            with torch.no_grad():
                parameter.sub_(sign * STEP * direction)
        return (found[0] - found[1]) / (2 * STEP)

    names, parameters = zip(*control.named_parameters(), strict=True)
    torch.manual_seed(0)
    loss = objective.play("all", program, pair.batch, state).loss
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    for name, parameter, slope in zip(names, parameters, slopes, strict=True):
        if name == "eta" and isinstance(objective, RelaxedControl):  # whose baseline follows it, and is given here
            continue
        direction = torch.randn_like(parameter)
        assert float((slope * direction).sum()) == pytest.approx(difference(parameter, direction), 1e-4, 1e-6), name
    assert all(slope.any() for slope in slopes)
