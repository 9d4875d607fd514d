"""Divergences of units, and of moments, against closed forms."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import Normal
from torch import Tensor
from torch.distributions import kl_divergence

from ppgen.pairs.divergence import moment_kl, unit_entropy, unit_kl
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program, run_particles


class Backwards(Pair):
    """A guide that draws b before a. Sites: a, b, x in ``data``."""

    def __init__(self, heavy: bool = False) -> None:
        super().__init__()
        self.heavy = heavy

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            a = pyro.sample("a", Normal(torch.zeros_like(x), 1.0).to_event(1))
            b = pyro.sample("b", Normal(a, 2.0).to_event(1))
            pyro.sample("x", Normal(b, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            b = pyro.sample("b", Normal(x, 0.5).to_event(1))
            q: Any = dist.StudentT(5.0, b / 2, 1.0) if self.heavy else Normal(b / 2, 3.0)
            pyro.sample("a", q.to_event(1))


def sites_of(pair: Pair) -> tuple[Any, Any, Any]:
    """Three particles of four data, the data, and the values of a and b."""
    x = torch.randn(4, 2, dtype=torch.float64)
    particles = run_particles(Program(pair.model, pair.guide), (x,), 3)
    values = {name: particles.guide_sites[name]["value"] for name in ("a", "b")}
    return particles, x, values


def test_units_have_the_exact_divergence_where_the_guide_knows_what_comes_before() -> None:
    particles, _, values = sites_of(Backwards())
    found = unit_kl(particles, "a")
    assert found is not None
    torch.testing.assert_close(found, kl_divergence(Normal(values["b"] / 2, 3.0), Normal(torch.zeros(2).double(), 1.0)))


def test_units_have_the_difference_at_their_draws_where_it_does_not_or_where_there_is_no_closed_form() -> None:
    particles, x, values = sites_of(Backwards())
    found = unit_kl(particles, "b")
    assert found is not None
    truth = Normal(x, 0.5).log_prob(values["b"]) - Normal(values["a"], 2.0).log_prob(values["b"])
    torch.testing.assert_close(found, truth)
    particles, _, values = sites_of(Backwards(heavy=True))
    found = unit_kl(particles, "a")
    assert found is not None
    q = dist.StudentT(5.0, values["b"] / 2, 1.0)
    torch.testing.assert_close(found, q.log_prob(values["a"]) - Normal(0.0, 1.0).log_prob(values["a"]))


def test_units_have_the_entropy_of_the_guide() -> None:
    particles, x, _ = sites_of(Backwards())
    found = unit_entropy(particles, "b")
    assert found is not None
    torch.testing.assert_close(found, Normal(x, 0.5).entropy().expand(found.shape))


def test_the_divergence_of_moments_is_that_of_gaussians_in_double_precision() -> None:
    q, p = 100 + torch.randn(50, 3, 2), 99 + 2 * torch.randn(50, 3, 2)
    each = [Normal(of.double().mean(0), of.double().std(0)) for of in (q, p)]
    torch.testing.assert_close(moment_kl(q, p), kl_divergence(each[0], each[1]).mean(0), rtol=1e-10, atol=0)


def test_the_divergence_from_what_does_not_move_is_zero() -> None:
    assert moment_kl(torch.randn(5, 3, 2), torch.ones(5, 3, 2)).tolist() == [0, 0]
