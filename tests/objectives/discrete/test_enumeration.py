"""Sums over all states of the latents are those by hand."""

from __future__ import annotations

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen import Pair, UsageError
from ppgen.inference import ELBO, IWELBO, MIWAE
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.discrete.enumeration import Enumeration, expected_bound
from ppgen.pairs.tracing import Program
from tests.discrete_doubles import (
    Choice,
    Coin,
    DiscreteDouble,
    TinyDeepSBN,
    TinySBN,
    exact_gradient,
    exact_value,
)
from tests.doubles import Line, Mixture, Shared

X = torch.tensor([[1.3], [-0.4], [0.2]], dtype=torch.float64)


class Units(Pair):
    """``size`` binary units a, a class c that depends on them, and a decoder of both; everything float64."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.size = size
        shapes = {"pa": (size,), "pc": (size, 3), "xa": (size,), "xc": (3,), "qa": (size,), "qc": (3,)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape, dtype=torch.float64)))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            a = pyro.sample("a", dist.Bernoulli(logits=self.pa).to_event(1))
            c = pyro.sample("c", dist.OneHotCategorical(logits=a @ self.pc))
            pyro.sample("x", dist.Normal((a @ self.xa + c @ self.xc).unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            c = pyro.sample("c", dist.OneHotCategorical(logits=x * self.qc))
            pyro.sample("a", dist.Bernoulli(logits=x * self.qa + c.sum(-1, keepdim=True)).to_event(1))


def of(pair: Pair, x: Tensor = X) -> Enumeration:
    return Enumeration.of(Program(pair.model, pair.guide), (x,), "this test")


def by_hand(bound: Reduction, log_w: Tensor, log_q: Tensor, particles: int) -> Tensor:
    """The expectation as loops write it."""
    total = torch.zeros(log_w.shape[1], dtype=log_w.dtype)
    for draw in itertools.product(range(len(log_w)), repeat=particles):
        total = total + log_q[list(draw)].sum(0).exp() * bound.reduce(log_w[list(draw)])
    return total


def test_the_tables_are_the_densities_of_every_state() -> None:
    pair = Mixture()
    log_p, log_w, log_q = of(pair).tables()
    torch.testing.assert_close(log_w, log_p - log_q)
    torch.testing.assert_close(log_p, pair.log_joint(X).detach())
    torch.testing.assert_close(log_q, pair.log_guide(X).detach())
    torch.testing.assert_close(of(pair).log_evidence(), pair.log_joint(X).logsumexp(0).detach())


def test_several_sites_are_enumerated_jointly() -> None:
    enumeration = of(Units())
    assert enumeration.num_states == 12
    assert {name: values.shape for name, values in enumeration.states.items()} == {"c": (12, 3, 3), "a": (12, 3, 2)}
    joint = torch.cat([enumeration.states["c"], enumeration.states["a"]], -1)[:, 0]
    assert len(joint.unique(dim=0)) == 12
    torch.testing.assert_close(enumeration.tables()[2].exp().sum(0), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("bound", "particles"),
    [(ELBO(num_particles=4), 1), (IWELBO(num_particles=3), 3), (MIWAE(num_groups=2, num_particles=2), 4)],
    ids=str,
)
def test_the_expected_bound_is_the_sum_over_all_draws(bound: Reduction, particles: int) -> None:
    _, log_w, log_q = of(Mixture()).tables()
    found = expected_bound(bound, log_w, log_q)
    torch.testing.assert_close(found, by_hand(bound, log_w, log_q, particles))


def test_a_state_that_the_guide_never_draws_adds_nothing() -> None:
    log_q = torch.tensor([[0.0], [-math.inf]])
    log_p = torch.tensor([[-1.0], [-2.0]])
    torch.testing.assert_close(expected_bound(ELBO(), log_p - log_q, log_q), torch.tensor([-1.0]))


@pytest.mark.parametrize("bound", [ELBO(), IWELBO(num_particles=2)], ids=str)
def test_the_gradient_is_that_of_the_expectation(bound: Reduction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ppgen.objectives.discrete.enumeration._CELLS", 18
    )  # two states, and three or six tuples, at a time
    pair = Units()
    parameters = list(pair.parameters())
    value, found = of(pair).gradient(bound, parameters)
    run = of(pair).particles()
    whole = expected_bound(bound, run.log_w, run.log_q).sum()
    torch.testing.assert_close(value, whole.detach())
    for one, other in zip(found, torch.autograd.grad(whole, parameters), strict=True):
        torch.testing.assert_close(one, other)
    step = 1e-6
    for parameter, gradient in zip(parameters, found, strict=True):
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                parameter.view(-1)[0] += sign * step
                _, log_w, log_q = of(pair).tables()
                ends.append(float(expected_bound(bound, log_w, log_q).sum()))
                parameter.view(-1)[0] -= sign * step
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(gradient.view(-1)[0]), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("bound", [ELBO(), IWELBO(num_particles=2)], ids=str)
@pytest.mark.parametrize("pair", [Coin(), TinySBN(), TinyDeepSBN(), Choice()], ids=lambda pair: type(pair).__name__)
def test_the_gradient_is_the_one_written_without_the_engine(pair: DiscreteDouble, bound: Reduction) -> None:
    names = [name for name, _ in pair.named_parameters()]
    value, found = of(pair, *pair.batch).gradient(bound, list(pair.parameters()))
    expected = exact_gradient(pair, bound.reduce, bound.total_particles)
    torch.testing.assert_close(value, exact_value(pair, bound.reduce, bound.total_particles).detach())
    for name, gradient in zip(names, found, strict=True):
        torch.testing.assert_close(gradient, expected[name], msg=name)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (Units(784), r"about 2\*\*\d+ joint states .*'c' 3, 'a' about 2\*\*784"),
        (Line(), "site 'z' is drawn from Normal"),
        (Shared(), "'mean' stands outside the data plate"),
    ],
    ids=["too many", "continuous", "global"],
)
def test_what_cannot_be_enumerated_is_refused_by_name(pair: Pair, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        of(pair)


def test_too_many_particles_are_refused_with_their_number() -> None:
    _, log_w, log_q = of(Mixture()).tables()
    with pytest.raises(UsageError, match="sum over 531441 draws of 12 particles"):
        expected_bound(IWELBO(num_particles=12), log_w, log_q)
