"""hinge: its optimal critic and total variation, by quadrature, and margins beyond which nothing pulls."""

from __future__ import annotations

import pytest
import torch

from ppgen.inference import Hinge
from tests.inference.adversarial.densities import P, Q, f_divergence, risk


def test_at_the_sign_of_the_difference_the_value_is_two_less_two_total_variations() -> None:
    optimal = (P - Q).sign()
    best = risk(Hinge(), optimal).item()
    assert best == pytest.approx(2 - 2 * f_divergence("total_variation"), rel=1e-9)
    for moved in (optimal + 0.3, optimal - 0.3, 0.7 * optimal, 1.3 * optimal):
        assert risk(Hinge(), moved).item() > best + 1e-2


def test_what_is_beyond_its_margin_does_not_pull_at_the_critic() -> None:
    real, fake = torch.tensor([1.5, 0.5]).requires_grad_(), torch.tensor([-1.5, -0.5, 3.0]).requires_grad_()
    Hinge().critic_loss(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.tolist() == [0.0, -0.5]
    torch.testing.assert_close(fake.grad, torch.tensor([0.0, 1 / 3, 1 / 3]))
