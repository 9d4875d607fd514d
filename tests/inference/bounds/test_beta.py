"""Weighted divergence, annealing and free bits."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import AnalyticKL, Beta
from ppgen.objectives.bounds import Bound
from ppgen.pairs.tracing import Program, run_particles
from ppgen.schedules import linear
from tests.doubles import Chain, Line, data


def gradient(objective: Bound, pair: Line) -> dict[str, Tensor]:
    torch.manual_seed(0)
    objective.differentiable_loss(pair.model, pair.guide, data(6)).backward()
    return {name: p.grad for name, p in pair.named_parameters() if p.grad is not None}


def values(objective: Bound, pair: Line | Chain) -> Tensor:
    torch.manual_seed(0)
    return objective.estimate(run_particles(Program(pair.model, pair.guide), (data(6),), 4))


def test_weight_one_is_the_elbo_with_exact_divergence() -> None:
    assert torch.equal(values(Beta(), Chain()), values(AnalyticKL(), Chain()))


def test_the_weight_counts_the_divergence() -> None:
    one, three = (values(Beta(beta=beta), Line()) for beta in (1.0, 3.0))
    zero = values(Beta(beta=0.0), Line())
    torch.testing.assert_close(three - zero, 3 * (one - zero))


def test_free_bits_below_the_divergence_change_nothing() -> None:
    plain, free = (gradient(Beta(num_particles=2, free_bits=f), Line()) for f in (0.0, 1e-6))
    for name in plain:
        torch.testing.assert_close(plain[name], free[name])


def test_free_bits_above_the_divergence_leave_the_likelihood_alone() -> None:
    found = gradient(Beta(num_particles=2, free_bits=100.0), Line())
    likelihood = gradient(Beta(num_particles=2, beta=0.0), Line())
    for name in found:
        torch.testing.assert_close(found[name], likelihood[name])
    torch.testing.assert_close(values(Beta(free_bits=100.0), Line()), values(Beta(beta=0.0), Line()) - 100.0)


def test_free_bits_are_counted_for_each_latent_site() -> None:
    expected = values(Beta(beta=0.0), Chain()) - 200.0
    torch.testing.assert_close(values(Beta(free_bits=100.0), Chain()), expected)


def test_what_it_is_depends_on_the_weight() -> None:
    assert Beta(beta=1.0).is_bound
    assert not Beta(beta=0.5).is_bound
    assert not Beta(beta=linear(0, 1, 10)).is_bound
    assert not Beta(free_bits=0.1).unbiased_gradient


@pytest.mark.parametrize("options", [{"beta": -1.0}, {"free_bits": -0.5}, {"beta": float("nan")}, {"beta": "much"}])
def test_a_hyper_parameter_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="of Beta must be a number of at least 0"):
        Beta(**options)
