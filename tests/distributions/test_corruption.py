"""Corruptions: probabilities sum to one and are those of draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ppgen.distributions.corruption import Replaced, corruption_of


@pytest.mark.parametrize("values", [(0.0,), (0.0, 1.0)])
@pytest.mark.parametrize("x", [0.0, 0.3, 1.0])
def test_probabilities_sum_to_one_and_are_shares_of_draws(values: Any, x: float) -> None:
    fn = Replaced(torch.tensor(x, dtype=torch.float64), 0.4, values)
    points = torch.tensor(sorted({x, *values}), dtype=torch.float64)
    probs = fn.log_prob(points).exp()
    assert float(probs.sum()) == pytest.approx(1.0)
    torch.manual_seed(0)
    draws = fn.rsample((20_000,))
    shares = torch.stack([(draws == point).double().mean() for point in points])
    assert bool(((shares - probs).abs() < 5 * (probs * (1 - probs) / 20_000).sqrt() + 1e-12).all())  # five deviations
    assert float(fn.mean) == pytest.approx(float((points * probs).sum()))


def test_a_draw_has_the_gradient_of_what_was_kept() -> None:
    x = torch.rand(50, 6, requires_grad=True)
    drawn = corruption_of(x, "salt_and_pepper", 0.5).rsample((3,))
    (found,) = torch.autograd.grad(drawn.sum(), x)
    assert torch.equal(found, (drawn == x).sum(0).to(x.dtype))
