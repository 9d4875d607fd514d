"""Chains of latents have the posterior as their limit, and the model's gradient there is that of the evidence.

Chains of 20,000 data, each independent; false-alarm rates as in ``discrete_truth.CRITICAL``, unless a test has its own.
"""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.chains.posterior import LatentChains, _accepted
from ppgen.errors import UsageError
from ppgen.inference import MCEM
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.pair import Pair
from ppgen.pairs.sampling import prior_latents
from ppgen.pairs.tracing import Program, run_particles
from ppgen.testing.yardsticks import BernoulliYardstick, SharedYardstick, data
from tests.discrete_doubles import Blend, Choice, DiscreteDouble, TinyDeepSBN, TinySBN, gradient_draws
from tests.doubles import Chain, Line
from tests.inference.discrete.discrete_truth import CRITICAL, largest_z

COPIES = 5000
X = 1.3


def program_of(pair: Pair) -> Program:
    return Program(pair.model, pair.guide)


def evidence_gradient(pair: DiscreteDouble) -> dict[str, Tensor]:
    """The gradient of log p(x), the log-weights of all atoms summed."""
    parameters = pair.parameters_once()
    mass, log_w = pair.atoms(parameters)
    value = (mass.log() + log_w).logsumexp(0)
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return {name: g for name, g in zip(parameters, found, strict=True) if float(g.abs().max()) > 1e-8}


@pytest.mark.parametrize("double", [TinySBN, TinyDeepSBN, Choice, Blend], ids=lambda double: double.__name__)
def test_after_many_transitions_the_gradient_of_the_model_is_that_of_the_evidence(double: type[DiscreteDouble]) -> None:
    """Binary, one-hot and mixed latents, from the guide's draws."""
    exact = evidence_gradient(double())
    draws = gradient_draws(MCEM(num_transitions=30, num_leapfrogs=2, step_size=0.5), double(COPIES))
    assert largest_z({name: draws[name] for name in exact}, exact) < CRITICAL
    assert not any(bool(g.any()) for name, g in draws.items() if name not in exact)  # the guide's


def line_gradient(objective: MCEM, pair: Line) -> dict[str, Tensor]:
    x = torch.full((COPIES, 1), X, dtype=torch.float64)
    names = ["weight", "loc", "log_noise"]
    loss = objective.differentiable_loss(pair.model, pair.guide, x)
    return dict(zip(names, torch.autograd.grad(-loss, [getattr(pair, name) for name in names]), strict=True))


def line_exact() -> dict[str, Tensor]:
    pair, names = Line(), ["weight", "loc", "log_noise"]
    value = pair.log_evidence(torch.tensor([[X]], dtype=torch.float64)).sum()
    return dict(zip(names, torch.autograd.grad(value, [getattr(pair, name) for name in names]), strict=True))


@pytest.mark.parametrize("from_prior", [False, True])
def test_hamiltonian_chains_come_to_the_posterior_from_the_guide_and_from_the_prior(from_prior: bool) -> None:
    objective = MCEM(num_transitions=25, num_leapfrogs=2, step_size=0.5, from_prior=from_prior)
    assert largest_z(line_gradient(objective, Line(COPIES)), line_exact()) < CRITICAL


def test_a_transition_from_the_posterior_stays_there_whatever_its_step_size() -> None:
    """With steps so long that every third proposal is refused."""
    objective = MCEM(num_transitions=3, num_leapfrogs=2, step_size=1.1)
    pair = Line(COPIES).land()
    x = torch.full((COPIES, 1), X, dtype=torch.float64)
    state = objective.initial_state(program_of(pair), (x,))
    rate = float(objective.play("all", program_of(pair), (x,), state).metrics["acceptance"])
    assert 0.4 < rate < 0.9
    assert largest_z(line_gradient(objective, pair), line_exact()) < CRITICAL


def always(gain: Tensor) -> tuple[Tensor, Tensor]:
    """Without Metropolis' rule."""
    return torch.ones_like(gain) > 0, torch.ones_like(gain)


def test_chains_without_metropolis_rule_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgen.chains.posterior._accepted", always)
    objective = MCEM(num_transitions=3, num_leapfrogs=2, step_size=1.1)
    assert largest_z(line_gradient(objective, Line(COPIES).land()), line_exact()) > CRITICAL
    exact = evidence_gradient(TinySBN())
    draws = gradient_draws(MCEM(num_transitions=30), TinySBN(COPIES))
    assert largest_z({name: draws[name] for name in exact}, exact) > CRITICAL


class Rate(Pair):
    """z ~ Beta(2, 3), x ~ Bernoulli(z): the posterior is Beta(2 + x, 4 - x). Sites: z, x in ``data``."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Beta(torch.full_like(x, 2.0), 3.0))
            pyro.sample("x", dist.Bernoulli(z), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Beta(torch.ones_like(x), 1.0))


def test_a_constrained_latent_moves_in_unconstrained_coordinates_with_their_jacobian() -> None:
    x = torch.tensor([0.0, 1.0], dtype=torch.float64)
    chains = LatentChains(run_particles(program_of(Rate()), (x,), COPIES), "a test")
    z, step = chains.start(), torch.tensor(0.6, dtype=torch.float64)
    for _ in range(20):
        z, _ = chains.transition(z, step, 3)
    exact = dist.Beta(2 + x, 4 - x)
    assert ((z["z"].mean(0) - exact.mean).abs() < 5 * (exact.variance / COPIES).sqrt()).all()
    second = z["z"].square()
    expected = exact.variance + exact.mean.square()
    assert ((second.mean(0) - expected).abs() < 5 * second.std(0) / COPIES**0.5).all()


def test_a_gain_of_minus_infinity_or_nan_is_refused_by_the_least_random_number_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "rand_like", torch.zeros_like)
    yes, rate = _accepted(torch.tensor([-math.inf, math.nan]).expand(3, 2))
    assert not yes.any()
    assert not rate.any()


@pytest.mark.parametrize("num", [1, 3])
def test_transitions_are_transitions_one_after_another(num: int) -> None:
    """Though the slope at a state is taken once; beside a discrete latent, which moves it, as often as there."""
    for pair in (Rate(), Blend(2)):
        x = (torch.tensor([0.0, 1.0]).double(),) if isinstance(pair, Rate) else pair.batch
        chains = LatentChains(run_particles(program_of(pair), x, 50), "a test")
        step, start = torch.tensor(1.3).double(), chains.start()
        torch.manual_seed(0)
        z, rates = start, []
        for _ in range(num):
            z, rate = chains.transition(z, step, 2)
            rates.append(rate)
        torch.manual_seed(0)
        found, mean = chains.transitions(start, step, 2, num)
        torch.testing.assert_close(found, dict(z))
        torch.testing.assert_close(mean, torch.stack(rates).mean(0))
        assert 0.05 < float(mean.mean()) < 0.999


def test_the_energy_of_a_momentum_is_that_of_all_latents_of_a_datum() -> None:
    pair = Chain()
    chains = LatentChains(run_particles(program_of(pair), (torch.ones(2, 1).double(),), 3), "a test")
    r = {name: torch.randn_like(value) for name, value in chains.start().items()}
    torch.testing.assert_close(chains._kinetic(r), (r["z1"].square() + r["z2"].square()) / 2)


class Parts(Pair):
    """Three latents a datum in a plate of their own: z_p ~ N(0, 1), x_p ~ N(z_p, 1). Sites: z, x in ``data``."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x), pyro.plate("parts", 3, dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x.T), 1.0))  # (K, 3, B)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x), pyro.plate("parts", 3, dim=-2):
            pyro.sample("z", dist.Normal(torch.zeros_like(x.T), 1.0))


def test_the_latents_of_a_datum_in_a_further_plate_are_one_chain() -> None:
    x = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.0, -0.5]], dtype=torch.float64)
    chains = LatentChains(run_particles(program_of(Parts()), (x,), COPIES), "a test")
    first = chains.start()
    one, _ = chains.transition(first, torch.tensor(1.2, dtype=torch.float64), 2)
    moved = one["z"] != first["z"]  # (K, 3, B)
    assert torch.equal(moved.all(1), moved.any(1))
    assert 0.2 < float(moved.double().mean()) < 0.99
    z = one
    for _ in range(20):
        z, _ = chains.transition(z, torch.tensor(0.7, dtype=torch.float64), 2)
    assert ((z["z"].mean(0) - x.T / 2).abs() < 5 * (0.5 / COPIES) ** 0.5).all()
    assert ((z["z"].var(0) - 0.5).abs() < 0.05).all()


@pytest.mark.parametrize(
    ("fn", "value", "neighbours"),
    [
        (dist.Bernoulli(logits=torch.zeros(3)).to_event(1), torch.tensor([1.0, 0.0, 1.0]), 3),
        (dist.OneHotCategorical(logits=torch.zeros(2, 3)).to_event(1), torch.eye(3)[[0, 2]], 4),
        (dist.Categorical(logits=torch.zeros(4)), torch.tensor(2), 3),
        (dist.Bernoulli(logits=torch.zeros(())), torch.tensor(1.0), 1),
    ],
)
def test_neighbours_differ_in_one_unit_and_are_all_as_likely(fn: Any, value: Tensor, neighbours: int) -> None:
    """9,000 draws; |z| < 5 for at most four counts."""
    fn, many = fn.expand([9000]), value.expand(9000, *value.shape)
    found = family_of(fn, "a test").neighbour(fn, many)
    assert found.dtype == value.dtype
    assert bool((fn.log_prob(found) > -1e3).all())  # states all
    kinds, counts = found.reshape(9000, -1).unique(dim=0, return_counts=True)
    assert len(kinds) == neighbours
    assert not (kinds == value.reshape(1, -1)).all(1).any()
    expected = 9000 / neighbours
    assert float((counts - expected).abs().max()) <= 5 * (expected * (1 - 1 / neighbours)) ** 0.5


def test_the_step_size_follows_the_rate_of_acceptance_or_is_kept() -> None:
    pair, x = Line(), torch.full((50, 1), X, dtype=torch.float64)
    for adaptation, moves in ((0.0, False), (0.2, True)):
        objective = MCEM(step_size=3.0, num_leapfrogs=3, adaptation=adaptation)
        state, rates = objective.initial_state(program_of(pair), (x,)), []
        for _ in range(60 if moves else 5):
            outcome = objective.play("all", program_of(pair), (x,), state)
            rates.append(float(outcome.metrics["acceptance"]))
            state = outcome.state
        assert (float(state["step_size"]) != 3.0) == moves
        if moves:
            assert sum(rates[:5]) / 5 < 0.5
            assert abs(sum(rates[-20:]) / 20 - 0.9) < 0.05


def test_chains_start_at_the_guides_draws_and_take_no_gradient_of_it_along() -> None:
    pair, x = Line(), torch.ones(2, 1).double()
    particles = run_particles(program_of(pair), (x,), 3)
    for name, value in LatentChains(particles, "a test").start().items():
        assert torch.equal(value, particles.guide_sites[name]["value"])
        assert not value.requires_grad


def test_a_step_is_as_many_transitions_as_asked_and_steers_by_their_mean_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = [torch.tensor(rate, dtype=torch.float64) for rate in (0.2, 0.5, 0.8)]
    left = iter(rates)
    monkeypatch.setattr(LatentChains, "_transition", lambda self, z, *_: (z, next(left), None))
    objective, pair, x = MCEM(num_transitions=3, adaptation=2.0, acceptance=0.9), Line(), torch.ones(2, 1).double()
    state = objective.initial_state(program_of(pair), (x,))
    outcome = objective.play("", program_of(pair), (x,), state)
    assert not list(left)
    assert float(outcome.state["step_size"]) == pytest.approx(0.1 * math.exp(2 * (0.5 - 0.9)))


def test_the_value_is_the_expected_log_joint_and_no_bound() -> None:
    pair, x = Line(), torch.full((7, 1), X, dtype=torch.float64)
    objective = MCEM(num_particles=2)
    outcome = objective.play("all", program_of(pair), (x,), objective.initial_state(program_of(pair), (x,)))
    assert float(outcome.metrics["log_joint"]) == pytest.approx(-float(outcome.loss.detach()) / 7)
    assert not MCEM.is_bound
    assert not MCEM.trains_guide


def test_prior_draws_are_of_the_models_own_joint() -> None:
    """Chain: z2 ~ N(0, 1), z1 | z2 ~ N(top z2, spread^2); 5 standard errors."""
    pair, x = Chain(), torch.full((2, 1), X, dtype=torch.float64)
    z = prior_latents(run_particles(program_of(pair), (x,), COPIES))
    assert z["z1"].shape == (COPIES, 2)
    assert float(z["z2"].mean().abs()) < 5 / (2 * COPIES) ** 0.5
    residual = z["z1"] - pair.top.detach() * z["z2"]
    assert float(residual.var()) == pytest.approx(float((2 * pair.log_spread).exp().detach()), rel=5 / COPIES**0.5)


class Count(BernoulliYardstick):
    """A Poisson latent."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Poisson(torch.ones_like(self.w)))
            pyro.sample("x", dist.Normal(self.w * z, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Poisson((self.a * x).exp()))


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (Count(), "site 'z' is drawn from Poisson, and MCEM knows the discrete distributions"),
        (SharedYardstick(), "'m' stands outside the data plate"),
    ],
    ids=["poisson", "global"],
)
def test_latents_that_no_chain_moves_are_refused(pair: Pair, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        MCEM().differentiable_loss(pair.model, pair.guide, *data(4))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"step_size": 0.0}, "step_size of MCEM must be a number above 0"),
        ({"acceptance": 1.0}, "acceptance of MCEM must be a number above 0 and below 1"),
        ({"num_transitions": 0}, "num_transitions of MCEM must be a whole number of at least 1"),
        ({"num_leapfrogs": 1.5}, "whole number"),
    ],
)
def test_chains_that_cannot_be_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        MCEM(**options)
