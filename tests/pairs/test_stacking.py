"""Distributions side by side: each is asked for its own part, and dims that they have not are of size one."""

import pyro.distributions as dist
import torch

from ppgen.pairs.stacking import StackedDistribution


def test_draws_are_those_of_each_distribution_with_all_dims() -> None:
    """Two particles and two plates, of which the distributions have the inner one."""
    fns = [dist.Normal(torch.full((4,), loc), 1.0) for loc in (0.0, 5.0)]
    stacked = StackedDistribution(fns, 2)
    torch.manual_seed(0)
    apart = [fn.sample((3,)) for fn in fns]
    torch.manual_seed(0)
    draws = stacked.sample((3,))
    assert draws.shape == (3, 2, 1, 4)
    assert torch.equal(draws[:, :, 0], torch.stack(apart, 1))


def test_parameters_are_those_of_each_distribution_with_all_dims() -> None:
    logits = torch.randn(2, 4, 3).log_softmax(-1)
    stacked = StackedDistribution([dist.Categorical(logits=each) for each in logits], 2)
    torch.testing.assert_close(stacked.logits, logits.unsqueeze(1))  # they are normalised once more


def test_one_value_is_scored_by_each_distribution() -> None:
    fns = [dist.Normal(torch.full((4,), loc), 1.0) for loc in (0.0, 1.0, 5.0)]
    value = torch.randn(1, 1, 4)
    expected = torch.stack([fn.log_prob(value[0]) for fn in fns])
    torch.testing.assert_close(StackedDistribution(fns, 2).log_prob(value), expected)
