"""The unordered set estimator beyond its unbiasedness, which ``test_discrete_truth`` holds it to."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.errors import UsageError
from ppgen.inference import REINFORCE, DisARM, Enumerate, UnorderedSet
from ppgen.pairs.pair import Pair
from tests.discrete_doubles import (
    Blend,
    Choice,
    Coin,
    DiscreteDouble,
    TinyDeepSBN,
    TinySBN,
    exact_gradient,
    exact_value,
    gradient_draws,
)
from tests.inference.discrete.discrete_harness import blocks_of, moments
from tests.inference.discrete.discrete_truth import CRITICAL, total_variance
from tests.inference.truth import elbo

ESTIMATORS = ["unordered", "importance"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("more", [0, 3])
@pytest.mark.parametrize(("double", "states"), [(Coin, 2), (TinySBN, 4), (TinyDeepSBN, 16), (Choice, 9)])
def test_of_no_more_states_than_draws_value_and_gradient_are_exact_in_every_draw(
    double: type[DiscreteDouble], states: int, more: int, estimator: Any
) -> None:
    pair, objective = double(5), UnorderedSet(num_particles=states + more, estimator=estimator)
    draws, exact = gradient_draws(objective, pair), exact_gradient(double(), elbo, 1)
    for name, gradient in draws.items():
        torch.testing.assert_close(gradient, exact[name].expand_as(gradient), rtol=1e-10, atol=1e-12)
    loss = objective.differentiable_loss(pair.model, pair.guide, *pair.batch)
    torch.testing.assert_close(-loss / 5, exact_value(double(), elbo, 1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("num", [2, 3, 10])
@pytest.mark.parametrize("double", [TinySBN, TinyDeepSBN, Choice, Blend], ids=lambda double: double.__name__)
def test_importance_weights_have_the_exact_gradient_too(double: type[DiscreteDouble], num: int) -> None:
    objective = UnorderedSet(num_particles=num, estimator="importance")
    assert moments(objective, double, exact_gradient(double(), elbo, 1)).largest_z < CRITICAL


@pytest.mark.parametrize("num", [3, 10])
def test_several_draws_have_the_exact_gradient(num: int) -> None:
    """10 by the integral."""
    for double in (TinyDeepSBN, Blend):
        objective = UnorderedSet(num_particles=num)
        assert moments(objective, double, exact_gradient(double(), elbo, 1)).largest_z < CRITICAL


def noise(objective: Any, double: type[DiscreteDouble]) -> float:
    torch.manual_seed(0)
    return total_variance(gradient_draws(objective, double(10_000)), blocks_of(double)["guide"])


@pytest.mark.parametrize("num", [2, 4])
@pytest.mark.parametrize("double", [TinyDeepSBN, Choice], ids=lambda double: double.__name__)
def test_it_is_below_leaving_one_out_at_as_many_particles(double: type[DiscreteDouble], num: int) -> None:
    assert noise(UnorderedSet(num_particles=num), double) < noise(REINFORCE(num_particles=num), double)


def test_it_is_above_leaving_one_out_where_a_real_latent_before_a_discrete_one_is_drawn_once() -> None:
    """All four states of two bits, and one draw of what lies between for each state of the first."""
    assert noise(UnorderedSet(num_particles=4), Blend) > 1.5 * noise(REINFORCE(num_particles=4), Blend)


def test_at_the_posterior_the_guide_has_no_noise() -> None:
    pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(3,)).double()
    for parameter in pair.parameters():  # three fair bits, whatever is hidden
        torch.nn.init.zeros_(parameter)
    pair.zero_grad()
    UnorderedSet(num_particles=3).loss_and_grads(pair.model, pair.guide, torch.ones(2, 3).double())
    for parameter in pair.encoders.parameters():
        torch.testing.assert_close(parameter.grad, torch.zeros_like(parameter), rtol=0, atol=1e-14)


class Numbered(Pair):
    """A class by its index, after one whose values are rows. Sites: a, c, x in ``data``."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(2, 3, dtype=torch.float64))
        self.locs = torch.nn.Parameter(torch.randn(2, 3, dtype=torch.float64))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            a = pyro.sample("a", dist.OneHotCategorical(logits=x.new_zeros(2)))
            c = pyro.sample("c", dist.Categorical(logits=x.new_zeros(3)))
            pyro.sample("x", dist.Normal((a @ self.locs).gather(-1, c.unsqueeze(-1)), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            a = pyro.sample("a", dist.OneHotCategorical(logits=x * x.new_tensor([0.3, -0.2])))
            pyro.sample("c", dist.Categorical(logits=a @ self.table))


def test_indices_are_drawn_as_rows_are() -> None:
    torch.manual_seed(0)
    pair, x = Numbered(), torch.randn(4, 1, dtype=torch.float64)
    losses = [
        one.differentiable_loss(pair.model, pair.guide, x) for one in (UnorderedSet(num_particles=6), Enumerate())
    ]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, list(pair.parameters())) for loss in losses))


def test_a_bound_that_is_no_mean_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^UnorderedSet is for a bound that is a mean of log-weights, such as 'elbo'"):
        UnorderedSet(bound="iwelbo")


def test_one_particle_has_no_other() -> None:
    with pytest.raises(UsageError, match=r"num_particles of UnorderedSet must be a whole number of at least 2"):
        UnorderedSet(num_particles=1)


class Masked(TinySBN):
    """Its guide leaves some log-probabilities out."""

    def guide(self, x: Tensor) -> None:
        with pyro.poutine.mask(mask=False):
            super().guide(x)


def test_a_site_that_is_masked_out_is_refused_by_its_name() -> None:
    pair = Masked()
    with pytest.raises(UsageError, match="some of site 'z' are masked out"):
        UnorderedSet().differentiable_loss(pair.model, pair.guide, *pair.batch)


def test_bits_take_less_noise_than_a_pair_of_antithetic_runs_where_the_set_is_most_of_the_states() -> None:
    """Three of the four states of two bits, against four antithetic runs."""
    assert noise(UnorderedSet(num_particles=3), TinySBN) < noise(DisARM(num_particles=4), TinySBN)
