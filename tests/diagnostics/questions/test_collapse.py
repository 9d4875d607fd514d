"""Activity, KL and entropy of units against closed forms, and idle units by name."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.diagnostics import Finding
from tests.diagnostics.linear import data_of, exact
from tests.implicit import Push, ring


def collapse(pair: ppgen.Pair, data: Dataset) -> Finding:
    return ppgen.diagnose(pair, data, questions=["collapse"])["collapse"]


class Bits(ppgen.Pair):
    """b ~ Bernoulli(1/2)^2, c ~ OneHot(1/3), d ~ Categorical(1/3); of x in {0, 1}, only b[0] takes any notice."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("b", dist.Bernoulli(x.new_full((2,), 0.5)).to_event(1))
            pyro.sample("c", dist.OneHotCategorical(x.new_full((3,), 1 / 3)))
            pyro.sample("d", dist.Categorical(x.new_full((3,), 1 / 3)))
            pyro.sample("x", dist.Bernoulli(x.new_full((1,), 0.5)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            probs = torch.cat([0.1 + 0.8 * x, torch.full_like(x, 0.5)], -1)
            pyro.sample("b", dist.Bernoulli(probs).to_event(1))
            pyro.sample("c", dist.OneHotCategorical(x.new_full((3,), 1 / 3)))
            pyro.sample("d", dist.Categorical(x.new_full((3,), 1 / 3)))


def test_a_latent_without_weight_is_idle_and_named() -> None:
    pair = exact(torch.tensor([[1.5, 0.0], [0.5, 0.0], [1.0, 0.0]]))
    found = collapse(pair, data_of(pair, 300))
    assert found.details.idle == ["z[1]"]
    assert found.status == "warn"
    assert found.number == 0.5
    assert "z[1]" in found.meaning


def test_a_pair_whose_guide_is_its_prior_has_collapsed() -> None:
    pair = exact(torch.zeros(3, 2))
    found = collapse(pair, data_of(pair, 300))
    assert found.status == "bad"
    assert found.details.active_units == 0
    assert "beta" in found.advice


def test_activity_is_the_variance_of_the_posterior_means() -> None:
    """Of 250 data at hand: the variance of their exact posterior means. 100 draws a datum, of variance V < 0.25 about
    these, less what they add: a standard error below 0.01, and of the prior's variance, 4,000 draws, of 0.025."""
    pair = exact(torch.tensor([[1.5, 0.2], [0.5, -2.0]]))
    data = data_of(pair, 250)
    means = pair.posterior(data.test[0]).mean.var(0)
    units = collapse(pair, data).details.units
    found = torch.tensor([unit.activity for unit in units], dtype=torch.float64)
    torch.testing.assert_close(found, means.detach(), atol=0, rtol=0.12)


def test_the_kl_of_a_normal_unit_is_exact() -> None:
    pair = ppgen.models.VAE(DataSpec("own", 4, "binary"), 3, hidden=(5,)).double()
    x = torch.rand(50, 4, dtype=torch.float64).round()
    units = collapse(pair, Dataset(DataSpec("own", 4, "binary"), (x,), (x,), (x,))).details.units
    q = pair.encoder(x).base_dist
    kl = 0.5 * (q.scale.square() + q.loc.square() - 1 - 2 * q.scale.log()).mean(0)
    torch.testing.assert_close(torch.tensor([unit.kl for unit in units], dtype=torch.float64), kl.detach())


def test_discrete_units_are_counted_as_draws_and_have_their_entropy() -> None:
    """Half of the data are 0 and half 1: b[0] has means 0.1 and 0.9, so that its activity is 0.16 / 0.25, within 0.04
    (four standard errors of the prior's variance)."""
    x = torch.tensor([[0.0], [1.0]]).repeat(50, 1)
    found = collapse(Bits(), Dataset(DataSpec("own", 1, "binary"), (x,), (x,), (x,)))
    units = {unit.name: unit for unit in found.details.units}
    assert list(units) == ["b[0]", "b[1]", "c[0]", "d[0]"]
    assert found.details.idle == ["b[1]", "c[0]", "d[0]"]
    assert units["b[0]"].activity == pytest.approx(0.64, abs=0.04)
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert units["b[0]"].entropy == pytest.approx(entropy, rel=1e-5)
    assert units["c[0]"].entropy == pytest.approx(math.log(3), rel=1e-5)
    assert units["b[0]"].kl == pytest.approx(math.log(2) - entropy, rel=1e-5)


def test_the_question_does_not_arise_without_a_density() -> None:
    data = ring()
    assert ppgen.diagnose(Push(data.spec), data, questions=["collapse"]).findings == ()
