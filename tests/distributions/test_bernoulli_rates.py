"""Bernoulli variables seen as rates: the mean log-probability of bits of that rate."""

from __future__ import annotations

import pyro.distributions as dist
import torch

from ppgen.distributions.bernoulli_rates import BernoulliRates


def test_the_log_probability_of_a_rate_is_the_mean_over_its_bits() -> None:
    logits, x = torch.tensor([-1.0, 0.5, 3.0]), torch.tensor([0.25, 1.0, 0.0])
    bits = dist.Bernoulli(logits=logits)
    mean = x * bits.log_prob(torch.ones(3)) + (1 - x) * bits.log_prob(torch.zeros(3))
    assert torch.allclose(BernoulliRates(logits=logits, validate_args=True).log_prob(x), mean)


def test_it_stays_itself_in_a_plate_and_draws_bits() -> None:
    found = BernoulliRates(logits=torch.zeros(3)).expand((4, 3))
    assert type(found) is BernoulliRates
    assert set(found.sample().unique().tolist()) <= {0.0, 1.0}
