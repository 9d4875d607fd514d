"""Local expectation gradients beyond their unbiasedness, which ``test_discrete_truth`` holds them to."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import REINFORCE, LocalExpectation
from ppgen.objectives.discrete.coupled_draws import States
from ppgen.pairs.pair import Pair
from tests.discrete_doubles import Coin, DiscreteDouble, TinyDeepSBN, TinySBN, exact_gradient, gradient_draws
from tests.inference.discrete.discrete_harness import blocks_of
from tests.inference.discrete.discrete_truth import total_variance
from tests.inference.discrete.noise_cells import cells
from tests.inference.truth import elbo, iwelbo


@pytest.mark.parametrize(("bound", "reduce", "particles"), [("elbo", elbo, 1), ("iwelbo", iwelbo, 2)])
def test_the_expectation_over_all_noise_is_the_gradient(
    bound: str, reduce: Any, particles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    uniforms, mass = cells(particles)
    monkeypatch.setattr(States, "uniforms", lambda *_: uniforms)
    found = gradient_draws(LocalExpectation(num_particles=particles, bound=bound), TinySBN(len(mass)))
    for name, exact in exact_gradient(TinySBN(), reduce, particles).items():
        torch.testing.assert_close(torch.tensordot(mass, found[name], 1), exact)


def test_the_gradient_of_the_guide_has_no_noise_where_there_is_one_unit() -> None:
    draws, exact = gradient_draws(LocalExpectation(), Coin(20)), exact_gradient(Coin(), elbo, 1)
    torch.testing.assert_close(draws["logit"], exact["logit"].expand_as(draws["logit"]))


@pytest.mark.parametrize(("double", "evaluations"), [(TinySBN, 3), (TinyDeepSBN, 5)], ids=["one layer", "two"])
def test_it_is_below_reinforce_at_equal_evaluations(double: type[DiscreteDouble], evaluations: int) -> None:
    ours, theirs = (
        total_variance(gradient_draws(objective, double(10_000)), blocks_of(double)["guide"])
        for objective in (LocalExpectation(), REINFORCE(num_particles=evaluations))
    )
    assert 1.5 * ours < theirs


class Plated(Pair):
    """Its units are in a plate of their own. Sites: z, x in ``data``."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2), pyro.plate("units", 2, dim=-1):
            z = pyro.sample("z", dist.Bernoulli(x.new_full((), 0.5)))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2), pyro.plate("units", 2, dim=-1):
            pyro.sample("z", dist.Bernoulli(logits=x))


def test_units_in_a_plate_of_their_own_are_refused_by_the_name_of_the_site() -> None:
    pair = Plated()
    with pytest.raises(UsageError, match="moves one unit of each datum at a time, but site 'z' is in a further plate"):
        LocalExpectation().differentiable_loss(pair.model, pair.guide, torch.zeros(3, 2))
