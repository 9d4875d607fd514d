"""A run's sites; a model with nothing observed."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.draws import prior_samples
from ppgen.pairs.function_pair import pair_from
from ppgen.pairs.traces import sites_of, unobserved

X = torch.zeros(5, 2)


def model(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.deterministic("mean", z, event_dim=1)
        pyro.sample("x", dist.Normal(z + 100.0, 1.0).to_event(1), obs=x)


def guide(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def test_sites_are_those_of_sample_statements_in_their_order() -> None:
    assert list(sites_of(model, X)) == ["data", "z", "mean", "x"]


def test_plates_without_a_size_have_one() -> None:
    def open_plate(x: Tensor) -> None:
        with pyro.plate("data"):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    (frame,) = sites_of(open_plate, X)["z"]["cond_indep_stack"]
    assert frame.size == 5


def test_what_is_observed_is_drawn_and_what_is_computed_stays() -> None:
    sites = sites_of(unobserved(model), X)
    assert not sites["x"]["is_observed"]
    assert sites["mean"]["is_observed"]
    assert torch.equal(sites["mean"]["value"], sites["z"]["value"])


def test_samples_are_of_the_data_and_not_of_what_is_computed_before_them() -> None:
    x = prior_samples(pair_from(model, guide), (X,), 50).x
    assert x.shape == (50, 2)
    assert float(x.min()) > 50
