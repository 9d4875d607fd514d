"""A number on a grid of levels: its probabilities, its mean and the frequencies of its draws."""

from __future__ import annotations

import pytest
import torch

from ppgen.distributions.levels import Levels


def test_levels_have_the_probabilities_of_their_logits_and_draws_their_frequencies() -> None:
    """40,000 draws: none of 10 frequencies is 5 standard deviations off, but once in 170,000 times."""
    logits = torch.randn(2, 5).double()
    law, probs = Levels(logits), logits.softmax(-1)
    grid = torch.arange(5).double() / 4
    torch.testing.assert_close(law.log_prob(grid[:, None]).exp().T, probs)
    torch.testing.assert_close(law.mean, (probs * grid).sum(-1))
    drawn = law.sample((40_000,))
    often = (drawn[..., None] - grid).abs().lt(1e-9).double().mean(0)
    assert ((often - probs).abs() < 5 * (probs * (1 - probs) / 40_000).sqrt()).all()


def test_levels_expand_and_refuse_what_lies_between() -> None:
    law = Levels(torch.zeros(3), validate_args=True).expand([2])
    torch.testing.assert_close(law.log_prob(torch.tensor([0.0, 0.5])), -torch.tensor([3.0, 3.0]).log())
    with pytest.raises(ValueError, match="support"):
        law.log_prob(torch.tensor([0.0, 0.25]))
