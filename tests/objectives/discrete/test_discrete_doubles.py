"""The discrete doubles tell the truth: their atoms, written by hand, are what the engine and Pyro make of the pairs."""

from __future__ import annotations

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program, run_particles
from tests.discrete_doubles import (
    DOUBLES,
    Blend,
    Coin,
    DiscreteDouble,
    exact_gradient,
    exact_value,
    gradient_draws,
)
from tests.inference.truth import elbo, iwelbo

each = pytest.mark.parametrize("double", DOUBLES, ids=lambda double: double.__name__)
DISCRETE = [double for double in DOUBLES if double is not Blend]


def log_weights(pair: Pair, batch: tuple[Tensor, ...], num_particles: int) -> Tensor:
    """(K, B), in nats."""
    return run_particles(Program(pair.model, pair.guide), batch, num_particles).log_w


@each
def test_the_masses_of_the_atoms_sum_to_one(double: type[DiscreteDouble]) -> None:
    mass, _ = double().atoms(double.parameters_once())
    torch.testing.assert_close(mass.sum(), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("double", DISCRETE, ids=lambda double: double.__name__)
def test_the_engine_gives_every_atom_its_log_weight(double: type[DiscreteDouble]) -> None:
    """Every state is drawn by some of 2,000 particles (the rarest has a mass above 0.01: 2e-9 to miss it)."""
    pair = double()
    mass, log_w = pair.atoms(double.parameters_once())
    drawn = log_weights(pair, pair.batch, 2_000)[:, 0]
    nearest = (drawn[:, None] - log_w).abs().min(1)
    assert mass.min() > 0.01
    assert nearest.values.max() < 1e-12
    assert set(nearest.indices.tolist()) == set(range(len(mass)))


def test_the_bound_of_the_blend_is_that_of_the_engine() -> None:
    """Means of 100,000 draws of the ELBO and of a bound of two: two-sided false alarms of 1e-4 each."""
    pair = Blend()
    log_w = log_weights(pair, pair.batch, 200_000).detach().reshape(2, -1)
    for reduce in (elbo, iwelbo):
        draws = reduce(log_w)
        z = (draws.mean() - exact_value(pair, reduce, 2)) / (draws.std() / len(draws) ** 0.5)
        assert abs(z) < 3.9


class _Finer(Blend):
    nodes = 80


def test_the_rule_of_the_blend_has_nodes_enough() -> None:
    for reduce in (elbo, iwelbo):
        torch.testing.assert_close(exact_value(Blend(), reduce, 2), exact_value(_Finer(), reduce, 2), rtol=1e-9, atol=0)


@each
def test_the_exact_gradient_is_that_of_finite_differences(double: type[DiscreteDouble]) -> None:
    pair, parameters = double(), double.parameters_once()

    def value(*values: Tensor) -> Tensor:
        return exact_value(pair, iwelbo, 2, dict(zip(parameters, values, strict=True)))

    assert torch.autograd.gradcheck(value, tuple(parameters.values()), fast_mode=True)


def test_the_gradient_of_the_coin_is_that_of_algebra() -> None:
    """E (b - t)^2 = p (1 - 2 t) + t^2, and the entropy's slope by the logit is -logit p (1 - p)."""
    logit, t = torch.tensor(-0.4).double(), 0.45
    p = logit.sigmoid()
    exact = exact_gradient(Coin(), elbo, 1)
    torch.testing.assert_close(exact["logit"][0], p * (1 - p) * (1 - 2 * torch.tensor(0.45) - logit))
    torch.testing.assert_close(exact["target"][0], 2 * (torch.tensor(t) - p))


@each
def test_copies_are_the_datum_again(double: type[DiscreteDouble]) -> None:
    """Each copy's gradient is that of the pair with one: the states given, only parameters are told apart."""
    one, many = double(), double(3)
    particles = run_particles(Program(one.model, one.guide), one.batch, 2)
    given = {name: particles.guide_sites[name]["value"].detach() for name in particles.latents}
    alone = run_particles(Program(one.model, one.guide), one.batch, 2, given).log_w.sum()
    again = {name: value.repeat_interleave(3, 1) for name, value in given.items()}
    together = run_particles(Program(many.model, many.guide), many.batch, 2, again).log_w.sum()
    expected = torch.autograd.grad(alone, list(one.parameters()))
    found = torch.autograd.grad(together, list(many.parameters()))
    for gradient, copies in zip(expected, found, strict=True):
        torch.testing.assert_close(copies, gradient.expand_as(copies))


@each
def test_pyros_gradient_is_the_exact_one_on_average(double: type[DiscreteDouble]) -> None:
    """Score function without baselines; 20,000 draws, 60 parameters in all: a false alarm with probability 6e-3."""
    pair = double(20_000)
    draws, exact = gradient_draws(Trace_ELBO(), pair), exact_gradient(pair, elbo, 1)
    for name, gradient in draws.items():
        error = (gradient.std(0) / 20_000**0.5).clamp_min(1e-12)
        assert gradient.shape[1:] == exact[name].shape
        assert ((gradient.mean(0) - exact[name]) / error).abs().max() < 3.9, name  # two-sided 1e-4
