"""Semi-implicit guides against quadrature over their mixing noise, and against the mixture itself, a Gaussian."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import ELBO, IWELBO, SIVI
from ppgen.objectives.bounds import Bound
from tests.doubles import Line, data
from tests.inference.mutants import OwnDrawLeftOut
from tests.inference.truth import (
    CRITICAL,
    X,
    elbo,
    error_of_mean,
    exact_gradient,
    expectation,
    gradient_draws,
    line_log_w,
    value_draws,
    z_scores,
)


class Mixed(Line):
    """:class:`Line` whose guide is N(slope x + shift + spread e, scale^2), e ~ N(0, 1) at a mixing site."""

    start: ClassVar = {**Line.start, "log_scale": -0.6, "spread": 0.7}

    def mixing(self, x: Tensor) -> Any:
        return dist.Normal(x.new_zeros(()), 1.0)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            with poutine.mask(mask=False):
                e = pyro.sample("e", self.mixing(x), infer={"is_auxiliary": True})  # (K, B)
            loc = self.slope * x[:, 0] + self.shift + self.spread * e
            pyro.sample("z", dist.Normal(loc, self.log_scale.exp()))  # (K, B)


def normal(value: Tensor, loc: Any, log_scale: Any) -> Tensor:
    scaled = (value - loc) * torch.as_tensor(-log_scale).exp()
    total: Tensor = -(scaled.square() + math.log(2 * math.pi)) / 2 - log_scale
    return total


def log_w(p: Any, noise: Tensor) -> Tensor:
    """(1) at x = X by hand: noise (..., 2 + J) of z, of e_0, and of the others."""
    loc = (p["slope"] * X + p["shift"]).unsqueeze(-1) + p["spread"].unsqueeze(-1) * noise[..., 1:]  # (..., J + 1)
    z = loc[..., 0] + p["log_scale"].exp() * noise[..., 0]
    log_q = normal(z.unsqueeze(-1), loc, p["log_scale"]).logsumexp(-1) - math.log(noise.shape[-1] - 1)
    log_p = normal(z, 0.0, torch.zeros(())) + normal(torch.as_tensor(X), p["weight"] * z + p["loc"], p["log_noise"])
    return log_p - log_q


def expected(num_extra: int, parameters: Any) -> Tensor:
    return expectation(log_w, elbo, parameters, particles=1, latents=2 + num_extra, nodes=(60, 40, 16)[num_extra])


@pytest.mark.parametrize("num_extra", [1, 2])
def test_the_value_is_that_of_quadrature(num_extra: int) -> None:
    draws = value_draws(SIVI(num_extra=num_extra), pair := Mixed(), 100_000)
    exact = float(expected(num_extra, dict(pair.state_dict())))
    assert float(draws.mean()) == pytest.approx(exact, abs=3 * error_of_mean(draws))


def test_the_gradient_is_that_of_quadrature() -> None:
    exact = exact_gradient(partial(expected, 1), Mixed())
    scores = z_scores(gradient_draws(SIVI(num_extra=1), Mixed(100_000), rounds=4), exact)
    assert max(map(abs, scores.values())) < CRITICAL
    wrong = z_scores(gradient_draws(OwnDrawLeftOut(num_extra=1), Mixed(100_000), rounds=4), exact)
    assert max(map(abs, wrong.values())) > CRITICAL


def test_it_rises_with_the_extra_draws_to_the_bound_of_the_mixture() -> None:
    """At J = 100 it is within 0.05 of the mixture's bound, whose guide is the wider Gaussian."""
    pair, wide = Mixed(), dict(Line().state_dict())
    wide["log_scale"] = ((2 * pair.log_scale).exp() + pair.spread.square()).log().detach() / 2
    limit = float(expectation(line_log_w, elbo, wide, particles=1))
    means = [float(expected(num, dict(pair.state_dict()))) for num in (0, 1, 2)]
    means += [float(value_draws(SIVI(num_extra=num, num_particles=4), pair, 2_000).mean()) for num in (10, 100)]
    assert means == sorted(means)
    assert means[-1] == pytest.approx(limit, abs=0.05)
    assert means[0] < limit - 0.3


@pytest.mark.parametrize("together", [None, False])
def test_without_extra_draws_it_is_the_bound_itself(together: bool | None) -> None:
    pair = Mixed()
    pair.vectorized = together
    for still, other in ((SIVI(num_extra=0, num_particles=3), ELBO(num_particles=3)),
                         (SIVI(num_extra=0, num_particles=3, bound="iwelbo"), IWELBO(num_particles=3))):  # fmt: skip
        values = []
        for objective in (still, other):
            torch.manual_seed(0)
            values.append(objective.loss(pair.model, pair.guide, data(4)))
        assert values[0] == values[1]


def test_extra_draws_are_the_same_however_particles_are_run() -> None:
    """A guide whose spread is nothing has one component: then every draw is of the same density."""
    pair = Mixed()
    with torch.no_grad():
        pair.spread.zero_()
    for together in (None, False):
        pair.vectorized = together
        values = []
        for objective in (SIVI(num_extra=3, num_particles=2), ELBO(num_particles=2)):
            torch.manual_seed(0)
            values.append(objective.loss(pair.model, pair.guide, data(4)))
        assert values[0] == pytest.approx(values[1], rel=1e-12)


class _Scored(Mixed):
    def mixing(self, x: Tensor) -> Any:
        return dist.Bernoulli(self.spread.sigmoid().expand(len(x)))


class _Point(Mixed):
    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            with poutine.mask(mask=False):
                e = pyro.sample("e", self.mixing(x), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(self.slope * x[:, 0] + e))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (_Scored, "mixing site 'e' of the guide has parameters and no reparameterized sample"),
        (_Point, "site 'z' of the guide is a point given its mixing site 'e'.*'avb'"),
    ],
)
def test_what_has_no_unbiased_gradient_is_refused(kind: type[Line], sentence: str) -> None:
    objective: Bound = SIVI()
    with pytest.raises(UsageError, match=sentence):
        objective.differentiable_loss((pair := kind()).model, pair.guide, data(3))
