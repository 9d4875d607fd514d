"""ARM and DisARM beyond their unbiasedness, which ``test_discrete_truth`` holds them to: noise, branches, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import ARM, ELBO, IWELBO, DisARM, Renyi
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.discrete.antithetic import Branches, difference
from ppgen.objectives.discrete.decisions import Decided
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program, run_particles
from ppgen.testing.yardsticks import GaussianYardstick
from tests.discrete_doubles import DOUBLES, Blend, Choice, Coin, DiscreteDouble, TinyDeepSBN, gradient_draws
from tests.inference.discrete.discrete_harness import COPIES, blocks_of
from tests.inference.discrete.discrete_truth import CRITICAL, landed

BINARY = [double for double in DOUBLES if double is not Choice]


def paired(double: type[DiscreteDouble], **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Draws of ARM and of DisARM from the same noise, (COPIES,) each, for every number of the guide's gradient."""
    draws = []
    for objective in (ARM(**options), DisARM(**options)):
        torch.manual_seed(1)
        draws.append(gradient_draws(objective, double(COPIES)))
    for name in blocks_of(double)["guide"]:
        yield from zip(*(of[name].flatten(1).T for of in draws), strict=True)


def test_arm_weighs_a_pair_by_its_noise_about_one_half_and_disarm_by_half_the_larger_probability() -> None:
    """Any other centre has the same expectation, and more variance."""
    noise, p = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.2, 0.5, 0.7])
    unit, mirrored = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 0.0])
    torch.testing.assert_close(ARM().slope(noise, p, unit, mirrored), torch.tensor([-0.4, 0.0, 0.4]))
    torch.testing.assert_close(DisARM().slope(noise, p, unit, mirrored), torch.tensor([-0.4, 0.0, 0.35]))


@pytest.mark.parametrize("options", [{}, {"num_particles": 2, "bound": "iwelbo"}], ids=["elbo", "iwelbo"])
@pytest.mark.parametrize("double", BINARY, ids=lambda double: double.__name__)
def test_disarm_is_arm_without_a_noise_of_mean_zero_that_is_uncorrelated_with_it(
    double: type[DiscreteDouble], options: dict[str, Any]
) -> None:
    """So its variance is at most ARM's, number by number. False alarms: those of CRITICAL, among its comparisons."""
    for arm, disarm in paired(double, **options):
        noise = arm - disarm
        for product in (noise, noise * (disarm - disarm.mean())):
            assert product.mean().abs() <= CRITICAL * product.std() / COPIES**0.5 + 1e-12
        assert disarm.var() <= arm.var() + CRITICAL * (2 * noise * (disarm - disarm.mean())).std() / COPIES**0.5 + 1e-12


def test_the_noise_of_arm_is_more_than_that_of_disarm_where_probabilities_are_not_even() -> None:
    for arm, disarm in paired(Coin):
        assert disarm.var() < 0.8 * arm.var()


@pytest.mark.parametrize("bound", ["elbo", "iwelbo"])
@pytest.mark.parametrize("kind", [ARM, DisARM], ids=lambda kind: kind.__name__)
def test_the_gradient_of_the_guide_is_zero_without_noise_at_the_exact_posterior(kind: Any, bound: str) -> None:
    pair, x = landed(), torch.linspace(-2, 2, 9, dtype=torch.float64)
    loss = kind(num_particles=3, bound=bound).differentiable_loss(pair.model, pair.guide, x)
    for gradient in torch.autograd.grad(loss, [pair.a, pair.b]):
        assert float(gradient.abs()) < 1e-10


@pytest.mark.parametrize("double", [TinyDeepSBN, Blend], ids=lambda double: double.__name__)
def test_a_branch_is_as_its_run_before_its_site_and_has_the_mirrored_unit_there(double: type[DiscreteDouble]) -> None:
    pair = double(50)
    program, states = Program(pair.model, pair.guide), Decided("this test")
    particles = run_particles(program, pair.batch, 9, draw=Branches(states, 2, 3))
    values = {name: particles.guide_sites[name]["value"].unflatten(0, (3, 3)) for name in particles.latents}
    first, second = particles.scored
    for i, name in enumerate((first, second)):
        assert states.noise[name].shape == values[name][0].shape
        probability = particles.guide_sites[name]["fn"].base_dist.probs[:3]
        mirrored = (1 - states.noise[name] > 1 - probability).double()
        torch.testing.assert_close(values[name][1 + i], mirrored)
    for name in particles.latents[: particles.latents.index(second)]:
        torch.testing.assert_close(values[name][2], values[name][0])
    assert not torch.equal(values[second][1], values[second][0])


@pytest.mark.parametrize("bound", [ELBO(num_particles=3), IWELBO(num_particles=3), Renyi(num_particles=3)], ids=str)
def test_the_difference_is_the_mean_over_two_choices_of_the_others(bound: Reduction) -> None:
    """One particle at a time is replaced, in copies of the log-weights, and the bound taken as it is."""
    log_w, mirrored = torch.randn(2, 3, 5, dtype=torch.float64)

    def coefficient(others: Tensor, own: Tensor, k: int) -> Tensor:
        replaced = torch.cat([others[:k], own[k : k + 1], others[k + 1 :]])
        return bound.reduce(replaced) - bound.weights(replaced)[k]

    found = difference(bound, log_w, mirrored)
    for k in range(3):
        parts = [coefficient(others, log_w, k) - coefficient(others, mirrored, k) for others in (log_w, mirrored)]
        torch.testing.assert_close(found[k], sum(parts) / 2)


def test_the_value_is_the_mean_of_the_bounds_of_runs_and_branches() -> None:
    pair, objective = TinyDeepSBN(7), DisARM(num_particles=3, bound="iwelbo")
    program, states = Program(pair.model, pair.guide), Decided("this test")
    torch.manual_seed(2)
    sets = run_particles(program, pair.batch, 9, draw=Branches(states, 2, 3)).log_w.split(3)
    expected = torch.stack([objective.reduction.reduce(log_w).sum() for log_w in sets]).mean()
    torch.manual_seed(2)
    loss = objective.differentiable_loss(pair.model, pair.guide, *pair.batch)
    torch.testing.assert_close(-loss, expected)


@pytest.mark.parametrize(("at_first", "then"), [(1, 2), (2, 1)])
def test_another_number_of_sites_than_at_first_is_refused(at_first: int, then: int) -> None:
    number = at_first

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            bits = [pyro.sample(f"z{i}", dist.Bernoulli(0.5)) for i in range(number)]
            pyro.sample("x", dist.Normal(sum(bits), 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            for i in range(number):
                pyro.sample(f"z{i}", dist.Bernoulli(logits=x))

    DisARM().loss(model, guide, torch.ones(3))
    number = then
    with pytest.raises(UsageError, match=f"there were {at_first} when it was first seen .* draw the same sites"):
        DisARM().loss(model, guide, torch.ones(3))


class Counts(Pair):
    """A Poisson latent. Sites: n, x in ``data``."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            n = pyro.sample("n", dist.Poisson(torch.tensor(1.0)))
            pyro.sample("x", dist.Normal(n, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("n", dist.Poisson(torch.tensor(2.0)))


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (Counts(), "site 'n' is drawn from Poisson, and DisARM knows"),
        (GaussianYardstick(), r"DisARM is for discrete latents, and those of the guide \('z'\)"),
    ],
    ids=["poisson", "continuous"],
)
def test_a_pair_without_binary_latents_is_refused(pair: Pair, sentence: str) -> None:
    x = pair.batch[0] if isinstance(pair, DiscreteDouble) else torch.zeros(4, dtype=torch.float64)
    with pytest.raises(UsageError, match=sentence):
        DisARM().differentiable_loss(pair.model, pair.guide, x)


def test_units_of_several_classes_are_refused_by_arm_alone() -> None:
    pair = Choice()
    with pytest.raises(UsageError, match="site 'c' has units of several classes, and ARM mirrors the noise of binary"):
        ARM().differentiable_loss(pair.model, pair.guide, *pair.batch)


def test_no_pair_of_draws_is_refused() -> None:
    with pytest.raises(UsageError, match=r"num_particles of ARM must be a whole number of at least 1, .* got 0"):
        ARM(num_particles=0)
