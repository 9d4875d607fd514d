"""The Langevin VAE: the evidence bound at no step, the evidence's gradient at many, and nothing new for the guide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import ELBO, LangevinVAE
from ppgen.objectives.objective import Objective
from ppgen.pairs.tracing import Particles, Program
from tests.doubles import Chain, Line, Switch, data

MODEL, GUIDE = ("weight", "loc", "log_noise"), ("slope", "shift", "log_scale")
COPIES = 8_000


def gradients(objective: Objective, pair: Line | Chain, x: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(0)
    loss = objective.play("all", Program(pair.model, pair.guide), (x,), {"step_size": torch.tensor(0.6).to(x)}).loss
    found = torch.autograd.grad(-loss, list(pair.parameters()))
    return {"value": loss.detach(), **dict(zip(dict(pair.named_parameters()), found, strict=True))}


@pytest.mark.parametrize("kind", [Line, Chain])
def test_without_a_step_it_is_the_elbo(kind: type[Line]) -> None:
    found = gradients(LangevinVAE(num_steps=0, num_particles=3), kind(), data(5))
    torch.testing.assert_close(found, gradients(ELBO(num_particles=3), kind(), data(5)), rtol=1e-12, atol=1e-12)


def test_its_value_and_the_guides_gradient_are_those_of_the_elbo_at_any_number_of_steps() -> None:
    found, plain = gradients(LangevinVAE(num_steps=3), Line(), data(5)), gradients(ELBO(), Line(), data(5))
    for name in ("value", *GUIDE):
        torch.testing.assert_close(found[name], plain[name], rtol=1e-12, atol=1e-12)


def error_of_models_gradient(objective: Objective) -> float:
    """The largest z-score of the model's gradient against that of log p(x), over independent copies."""
    x = torch.full((COPIES, 1), 1.3, dtype=torch.float64)
    found, pair = gradients(objective, Line(COPIES), x), Line()
    spread = (pair.weight.square() + (2 * pair.log_noise).exp()).sqrt()
    exact = torch.autograd.grad(dist.Normal(pair.loc, spread).log_prob(x[0, 0]), [getattr(pair, n) for n in MODEL])
    draws = {name: found[name] for name in MODEL}
    return max(
        float((draws[n].mean() - e).abs() / (draws[n].std() / COPIES**0.5)) for n, e in zip(MODEL, exact, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class _AtTheDraws(LangevinVAE):
    """One that lets the model learn where the chains began."""

    def _moved(self, particles: Particles, step_size: Tensor) -> Any:
        _, rate = super()._moved(particles, step_size)
        return particles.log_w.mean(0), rate


def test_after_many_steps_the_models_gradient_is_that_of_the_evidence() -> None:
    """Three z-scores below 4 raise a false alarm with probability 2e-4; the guide here is far from the posterior."""
    assert error_of_models_gradient(LangevinVAE(num_steps=25)) < 4
    assert error_of_models_gradient(LangevinVAE(num_steps=1)) > 10
    assert error_of_models_gradient(_AtTheDraws(num_steps=25)) > 10


def test_the_step_size_follows_the_rate_of_acceptance() -> None:
    pair, objective = Line(), LangevinVAE(num_steps=2)
    for size, grows in ((1e-3, True), (30.0, False)):
        state = {"step_size": torch.tensor(size, dtype=torch.float64)}
        outcome = objective.play("all", Program(pair.model, pair.guide), (data(50),), state)
        assert bool(outcome.state["step_size"] > size) == grows
        assert bool(outcome.metrics["acceptance"] > objective.acceptance) == grows


def test_discrete_latents_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"site 'z' of the guide is drawn from Bernoulli.*'reinforce'"):
        LangevinVAE().differentiable_loss((pair := Switch()).model, pair.guide, data(3))
