"""Penalties on the slopes of critics: their values, and where they look."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import DRAGAN, NonSaturating, WassersteinGP
from ppgen.objectives.adversarial import Adversarial, gradient_penalty


def test_the_penalty_is_the_squared_excess_of_the_slope_over_one() -> None:
    x = torch.tensor([[1.0, 2.0], [0.0, -1.0]], dtype=torch.float64)
    linear = gradient_penalty(lambda x: x @ torch.tensor([3.0, 4.0], dtype=torch.float64), x.clone())
    assert linear.item() == pytest.approx(16.0)  # slope 5 everywhere
    quadratic = gradient_penalty(lambda x: 0.5 * x.square().sum(1), x.clone())
    assert quadratic.item() == pytest.approx(((math.sqrt(5) - 1) ** 2 + 0) / 2)  # slope |x|


def test_the_penalty_moves_the_critic() -> None:
    slope = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    gradient_penalty(lambda x: (x * slope).sum(1), torch.ones(4, 1, dtype=torch.float64)).backward()
    assert slope.grad is not None
    assert slope.grad.item() == pytest.approx(2 * (3 - 1))


def test_wasserstein_gp_looks_between_data_and_draws() -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum(1)

    real, fake = torch.zeros(1000, 1), torch.ones(1000, 1)
    penalty = WassersteinGP(weight=3.0).penalty(critic, real, fake)
    assert penalty.item() == pytest.approx(0.0)  # slope one
    assert 0 <= seen[0].min() < 0.01 < 0.99 < seen[0].max() <= 1  # e < 0.01 in no one of 1,000: once in 23,000
    assert seen[0].mean().item() == pytest.approx(0.5, abs=5 / math.sqrt(12_000))


def test_dragan_looks_around_the_data_at_their_scale() -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return 2 * x.sum(1)

    real = torch.linspace(-3, 3, 1000)[:, None]
    penalty = DRAGAN(weight=3.0, spread=0.5).penalty(critic, real, real)
    assert penalty.item() == pytest.approx(3.0)  # slope two
    moved = (seen[0] - real).std().item()
    assert moved == pytest.approx(0.5 * real.std().item(), rel=5 / math.sqrt(2000))


def kept(seen: list[Tensor]) -> Any:
    """A critic that keeps what it is shown."""

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum(1)

    return critic


def test_wasserstein_gp_goes_from_a_draw_to_a_datum_by_one_share_for_all_coordinates() -> None:
    seen: list[Tensor] = []
    WassersteinGP().penalty(kept(seen), torch.zeros(50, 3), torch.tensor([1.0, 2.0, -4.0]).expand(50, 3))
    shares = seen[0] / torch.tensor([1.0, 2.0, -4.0])
    torch.testing.assert_close(shares, shares[:, :1].expand(50, 3))
    assert shares[:, 0].unique().numel() > 40  # and another one for each datum


def test_dragan_does_not_look_at_draws() -> None:
    seen: list[Tensor] = []
    real = torch.linspace(-1, 1, 100)[:, None]
    DRAGAN(spread=0.1).penalty(kept(seen), real, real + 1000)
    assert (seen[0] - real).abs().max() < 1  # 17 standard deviations


def seen_by_the_penalty_of(objective: Adversarial, real: Tensor, fake: Tensor) -> Tensor:
    """The points at which the penalty asks the critic for its slope."""
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.square().sum(-1)

    objective.penalty(critic, real, fake)
    return seen[0]


def test_the_gradient_penalty_looks_on_the_segments_from_draws_to_data() -> None:
    """One share of each datum, the same in all its numbers, uniform in [0, 1]."""
    real, fake = torch.randn(500, 3), 5 + torch.randn(500, 3)
    points = seen_by_the_penalty_of(WassersteinGP(hidden=(4,)), real, fake)
    share = (points - fake) / (real - fake)  # (B, 3)
    torch.testing.assert_close(share, share[:, :1].expand(-1, 3), rtol=0, atol=1e-4)
    assert share.min() >= -1e-4
    assert share.max() <= 1 + 1e-4
    assert float(share.std()) == pytest.approx(12**-0.5, rel=0.1)


def test_the_penalty_of_dragan_looks_around_data_wherever_draws_are() -> None:
    real, fake = 2 * torch.randn(5000, 3), torch.full((5000, 3), 50.0)
    off = seen_by_the_penalty_of(DRAGAN(hidden=(4,), spread=0.3), real, fake) - real
    assert float(off.mean()) == pytest.approx(0, abs=0.03)
    assert float(off.std()) == pytest.approx(0.3 * float(real.std()), rel=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: WassersteinGP(**options),
        lambda **options: DRAGAN(**options),
        lambda **options: NonSaturating(r1=0.1, **options),
        lambda **options: NonSaturating(gradient_penalty=1.0, **options),
    ],
)
def test_a_penalty_on_slopes_is_refused_where_the_batch_is_normalised_together(make: Any) -> None:
    with pytest.raises(
        UsageError, match="a penalty on the critic's slope at each datum, and with normalisation='batch'"
    ):
        make(normalisation="batch")
    make(normalisation="virtual")


def test_without_its_weight_there_is_no_penalty_on_slopes() -> None:
    assert not WassersteinGP(weight=0.0, normalisation="batch").bounds_slopes
