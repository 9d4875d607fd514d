"""Models and guides that are functions: what they draw, observe and are given is theirs, as in Pyro."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormalMessenger
from pyro.optim import ClippedAdam
from torch import Tensor

from ppgen.inference import ELBO
from ppgen.pairs.function_pair import pair_from
from ppgen.pairs.tracing import Program, run_particles
from tests.doubles import Line
from tests.doubles import data as line_data


def test_a_messenger_guide_has_its_latents_alone() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    x = torch.tensor([0.2, -1.0, 0.7])
    guide = AutoNormalMessenger(model, amortized_plates=())
    guide(x)
    losses = []
    for elbo in (Trace_ELBO(), ELBO()):
        pyro.set_rng_seed(1)
        losses.append(elbo.loss(model, guide, x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    pair = pair_from(model, guide)
    stock = Trace_ELBO()
    pair.prepare(x)
    pyro.set_rng_seed(1)
    assert stock.loss(pair.model, pair.guide, x) == pytest.approx(losses[0], rel=1e-6)


def test_what_a_guide_observes_is_no_latent_and_its_factor_is_the_guides_own() -> None:
    def model(x: Tensor, y: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x: Tensor, y: Tensor, weight: float = 0.0) -> None:
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(3.0 * x, 0.1), obs=y, infer={"is_auxiliary": True})
            if weight:
                pyro.factor("taught", weight * x, has_rsample=True)
            pyro.sample("z", dist.Normal(0.5 * (x + y), 0.4))

    x, y = torch.tensor([0.2, -1.0]), torch.tensor([0.1, 0.4])
    run = run_particles(Program(model, guide), (x, y), 1)
    z = run.guide_sites["z"]["value"]
    torch.testing.assert_close(run.log_q, dist.Normal(0.5 * (x + y), 0.4).log_prob(z))
    pyro.set_rng_seed(0)
    plain = ELBO().loss(model, guide, x, y)

    def taught(x: Tensor, y: Tensor) -> None:
        guide(x, y, weight=2.0)

    pyro.set_rng_seed(0)
    assert ELBO().loss(model, taught, x, y) == pytest.approx(plain + 2 * float(x.sum()), rel=1e-5)


def test_keyword_arguments_are_passed_on() -> None:
    seen: list[Any] = []

    def model(x: Tensor, beta: float = 1.0) -> None:
        seen.append(beta)
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=beta):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor, beta: float = 1.0) -> None:
        seen.append(beta)
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=beta):
            pyro.sample("z", dist.Normal(pyro.param("m", torch.tensor(0.3)) * x, 1.0))

    x = torch.tensor([0.2, -1.0, 0.7])
    svi = pyro.infer.SVI(model, guide, ClippedAdam({"lr": 0.0}), ELBO())
    losses = [
        svi.step(x, beta=0.5),
        svi.evaluate_loss(x, beta=0.5),
        ELBO()(model, guide)(x, beta=0.5).item(),  # type: ignore[arg-type]  # Pyro takes functions
    ]
    assert set(seen) == {0.5}
    assert all(isinstance(loss, float) for loss in losses)


def test_a_program_is_looked_at_once() -> None:
    calls = []

    class Counted(Line):
        def model(self, x: Tensor) -> None:
            calls.append(x)
            super().model(x)

        def guide(self, x: Tensor) -> None:
            super().guide(x)

    pair, x = Counted(), line_data(4)
    run_particles(Program(pair.model, pair.guide), (x,), 3)
    first = len(calls)
    run_particles(Program(pair.model, pair.guide), (x,), 3)
    assert len(calls) == first + 1
