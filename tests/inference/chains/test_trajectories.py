"""Bounds of trajectories: special cases, where they lead, gradients by differences, other coordinates, refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDelta, AutoNormal
from torch import Tensor, nn

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import DAIS, ELBO, IWELBO, HamiltonianELBO
from ppgen.models import VAE
from ppgen.objectives.bounds import Bound
from ppgen.objectives.moving import Moving
from ppgen.pairs.function_pair import pair_from
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program
from tests.doubles import Chain, Line, Switch, data
from tests.inference.mutants import Unwidened
from tests.inference.trajectories import tempered
from tests.inference.truth import elbo, error_of_mean, value_draws

MOVING = [DAIS(num_temperatures=3, step_size=0.4), HamiltonianELBO(num_leapfrogs=3, step_size=0.3)]
STILL = [DAIS(num_temperatures=0, num_particles=3), HamiltonianELBO(num_leapfrogs=0, num_particles=3)]
name_of: Any = lambda objective: type(objective).__name__  # noqa: E731


def loss(objective: Bound, pair: Pair, x: Tensor, own: nn.Module | None = None) -> Tensor:
    torch.manual_seed(0)
    return objective.play("all", Program(pair.model, pair.guide, own), (x,), {}).loss


@pytest.mark.parametrize("objective", STILL, ids=name_of)
@pytest.mark.parametrize("bound", [ELBO, IWELBO])
def test_without_a_step_it_is_the_bound_itself(objective: Moving, bound: type[Bound]) -> None:
    still = dataclasses.replace(objective, bound="elbo" if bound is ELBO else "iwelbo")
    pair, other = Chain(), Chain()
    values = [loss(still, pair, data(5)), loss(bound(num_particles=3), other, data(5))]
    assert torch.equal(*values)
    gradients = [torch.autograd.grad(v, list(p.parameters())) for v, p in zip(values, (pair, other), strict=True)]
    assert all(map(torch.equal, *gradients))


def test_it_rises_with_the_temperatures_to_the_evidence_and_stays_below() -> None:
    """Means over 2000 data, whose errors of 0.03 are far below the steps between them; e falls as T^(-1/4)."""
    pair, x = Line(), data(2000)
    with torch.no_grad():
        evidence = float(pair.log_evidence(x).mean())
        bounds = [
            -float(loss(DAIS(num_temperatures=num, step_size=0.8 * max(num, 1) ** -0.25), pair, x)) / len(x)
            for num in (0, 4, 16, 64)
        ]
    assert bounds == sorted(bounds)
    assert evidence - 0.2 < bounds[-1] < evidence
    assert bounds[0] < evidence - 0.9


def test_a_momentum_whose_widening_is_forgotten_is_caught() -> None:
    """By 5 standard errors; the right one is held to the same value in ``test_values``."""
    paths = tempered(2, 0.3, 0.5)
    exact = float(paths.expected(paths.line, 1, elbo, dict((pair := Line()).state_dict())))
    for kind, is_right in ((HamiltonianELBO, True), (Unwidened, False)):
        draws = value_draws(kind(num_leapfrogs=2, step_size=0.3), pair, 20_000)
        assert (abs(float(draws.mean()) - exact) < 5 * error_of_mean(draws)) == is_right


@pytest.mark.parametrize("objective", MOVING, ids=name_of)
def test_the_gradient_is_the_slope_of_the_loss_by_the_pair_and_by_its_own_parameters(objective: Moving) -> None:
    """Central differences with the same noise: an error of the order of 1e-6^2, and of rounding, 1e-9."""
    pair, x = Line(), data(3)
    own = objective.parameters(pair, (x,)).to(x)
    parameters = [*pair.parameters(), *own.parameters()]
    found = torch.autograd.grad(loss(objective, pair, x, own), parameters)
    for parameter, gradient in zip(parameters, found, strict=True):
        assert gradient.any()
        for place in range(min(2, parameter.numel())):
            at = parameter.data.view(-1)
            values = []
            for side in (1e-6, -2e-6):
                at[place] += side
                values.append(float(loss(objective, pair, x, own).detach()))
            at[place] += 1e-6
            assert float(gradient.flatten()[place]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-6)


class _Exponential(Line):
    """:class:`Line` of exp(z) > 0."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.LogNormal(x.new_zeros(()), 1.0)).log()  # (K, B)
            loc = (self.weight * z + self.loc).unsqueeze(-1)  # (K, B, 1)
            pyro.sample("x", dist.Normal(loc, self.log_noise.exp().unsqueeze(-1)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.LogNormal(self.slope * x[:, 0] + self.shift, self.log_scale.exp()))


@pytest.mark.parametrize("objective", MOVING, ids=name_of)
def test_a_positive_latent_moves_as_its_logarithm_does(objective: Moving) -> None:
    torch.testing.assert_close(loss(objective, _Exponential(), data(4)), loss(objective, Line(), data(4)))


class _Told(Line):
    """:class:`Line` whose guide sees noise beside x."""

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            with poutine.mask(mask=False):
                e = pyro.sample("e", dist.Normal(x.new_zeros(()), 3.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(self.slope * x[:, 0] + e, self.log_scale.exp()))


@pytest.mark.parametrize("objective", MOVING, ids=name_of)
@pytest.mark.parametrize(("kind", "together"), [(Chain, False), (_Told, None), (_Told, False)])
def test_steps_of_no_length_leave_the_bound_as_it_is(
    objective: Moving, kind: type[Pair], together: bool | None
) -> None:
    """Nothing else is drawn anew along a trajectory, however particles are run."""
    pair = kind()
    pair.vectorized = together
    options: Any = {"step_size": 1e-9, "num_particles": 2}
    small = dataclasses.replace(objective, **options)
    torch.testing.assert_close(loss(small, pair, data(4)), loss(ELBO(num_particles=2), pair, data(4)))


def autoguided(kind: Any) -> Pair:
    return pair_from((chain := Chain()).model, kind(chain.model))


class _Nothing(Line):
    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", dist.Normal(self.loc, 1.0).expand((1,)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pass


@pytest.mark.parametrize("objective", MOVING, ids=name_of)
@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (Switch, "site 'z' of the guide is drawn from Bernoulli.*'reinforce'.*'vimco'"),
        (lambda: autoguided(AutoNormal), "site 'z2' of the guide is a point given what it was made of.*use 'elbo'"),
        (lambda: autoguided(AutoDelta), "site 'z2' of the guide is a point"),
        (_Nothing, "moves the latents of each datum, and the guide has none"),
    ],
)
def test_what_cannot_be_moved_is_refused(objective: Moving, pair: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        objective.differentiable_loss((made := pair()).model, made.guide, data(3))


def test_a_guide_that_scores_its_own_draws_alone_takes_the_model_as_target_alone() -> None:
    pair = VAE(DataSpec("x", 1, "real"), 2, guide="planar(num=1)")
    arguments = (pair.model, pair.guide, data(3).float())
    HamiltonianELBO().differentiable_loss(*arguments).backward()
    with pytest.raises(UsageError, match="'hamiltonian_elbo' or 'elbo', or a guide whose transforms have an inverse"):
        DAIS().differentiable_loss(*arguments)


@pytest.mark.parametrize(
    "options", [{"num_temperatures": -1}, {"persistence": 1.0}, {"step_size": 0.0}, {"num_leapfrogs": 0}]
)
def test_a_hyper_parameter_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))} of DAIS must be"):
        DAIS(**options)
