"""Glow: its density against the change of variables, levels against enumeration, its start, and what is refused."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import ELBO
from ppgen.models import Glow
from ppgen.training.beginning import begin_at_data
from tests.traced import as_graphs

REAL = DataSpec("tiny", 16, "real", image_shape=(4, 4), num_data=40)
GREY = DataSpec("tiny", 16, "quantised", image_shape=(4, 4), levels=8, num_data=40)
X = torch.rand(40, 16, generator=torch.Generator().manual_seed(3)).double()
LEVELS = (X.square() * 7).round() / 7


def glow(spec: DataSpec, channels: tuple[int, ...] = (6, 5), depth: int = 1, **options: Any) -> Glow:
    torch.manual_seed(1)
    pair = Glow(spec, channels, depth=depth, **options).double()
    for parameter in pair.flow.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return pair


def fitted(pair: Glow, **options: Any) -> dict[str, Tensor]:
    ppgen.fit(pair, LEVELS, ELBO(), **{"steps": 4, "batch_size": 10, "seed": 2, "eager": True, **options})
    return {name: value.clone() for name, value in pair.state_dict().items()}


def test_the_density_is_that_of_the_change_of_variables() -> None:
    """In logit space of a real picture in [0, 1], its levels told: every step of the way in one Jacobian."""
    spec = DataSpec("tiny", 16, "real", image_shape=(4, 4), levels=8)
    pair = glow(spec, depth=2, alpha=0.1)

    def noise(x: Tensor) -> Tensor:
        z: Tensor = pair.flow((0.1 + 0.8 * x).logit()[None])[0][0]
        return z

    log_det = torch.stack([torch.linalg.slogdet(jacobian(noise, x)).logabsdet for x in X[:3]])
    gaussian = torch.stack([-(noise(x).square() + math.log(2 * math.pi)).sum() / 2 for x in X[:3]])
    torch.testing.assert_close(ppgen.log_weights(pair, (X[:3],), 1)[0], (gaussian + log_det).detach())


def test_draws_are_what_the_flow_maps_to_their_noise() -> None:
    pair = glow(REAL, depth=2)
    torch.manual_seed(5)
    x = pair.draw_data((X,), 6).x
    torch.manual_seed(5)
    torch.testing.assert_close(pair.flow(x)[0].detach(), torch.randn(6, 16, dtype=torch.float64))


def test_the_mean_weights_of_all_pictures_of_two_levels_sum_to_one() -> None:
    """The mean weight of a picture is its probability, and there are 16 of them; p(y) has mass in the cells alone but
    for some 1e-5 beyond 0 and 1. Of 4,000 particles the sum is 1 within five standard errors (1 in 2 million).
    """
    spec = DataSpec("bits", 4, "quantised", image_shape=(2, 2), levels=2)
    pair = glow(spec, (4,), 2, dequantisation="uniform", alpha=1e-6)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
    weights = ppgen.log_weights(pair, (every,), 4_000).exp()  # (K, 16)
    error = float((weights.var(0) / len(weights)).sum().sqrt())
    assert error < 0.02
    assert abs(float(weights.mean(0).sum()) - 1) < 5 * error


def test_actnorm_starts_at_the_data_that_the_guide_fills_in_and_at_the_same_for_a_seed() -> None:
    first, again, other = (glow(GREY) for _ in range(3))
    for pair, seed in ((first, 0), (again, 0), (other, 1)):
        assert pair.waits_for_data
        begin_at_data(pair, ppgen.data.as_dataset(LEVELS), seed)
        assert not pair.waits_for_data
    shifts = [pair.state_dict()["flow.leaves.1.shift"] for pair in (first, again, other)]
    assert torch.equal(shifts[0], shifts[1])
    assert not torch.equal(shifts[0], shifts[2])
    torch.manual_seed(0)
    noise = first.flow(first.observed.draw(LEVELS))[0][:, -8:].detach()  # what the last scale, of 8 numbers, gives
    assert float(noise.mean(0).abs().max()) < 0.5
    assert float(noise.std(0).log().abs().max()) < 0.5


def test_a_traced_step_is_the_eager_one() -> None:
    """With the start made before it: nothing of it, nor of the first step, is left in the graph."""
    eager = fitted(glow(GREY), steps=2)
    with as_graphs() as operations:
        traced = fitted(glow(GREY), steps=2, eager=False)
    assert any("convolution" in name for name in operations)
    for name, value in eager.items():
        torch.testing.assert_close(traced[name], value, rtol=1e-9, atol=1e-10)


def test_a_run_that_was_stopped_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    whole = fitted(glow(GREY), schedule="constant")
    fitted(glow(GREY), schedule="constant", steps=2, out=tmp_path)
    again = fitted(glow(GREY), schedule="constant", out=tmp_path, resume=True)
    assert all(torch.equal(again[name], value) for name, value in whole.items())


@pytest.mark.parametrize(
    ("spec", "channels", "said"),
    [
        (DataSpec("numbers", 4, "real"), (4,), "'numbers' have no image_shape: use 'realnvp'"),
        (DataSpec("mnist", 784, "real", image_shape=(28, 28)), (4, 4, 4), "28 x 28 take 2 at most, got 3"),
        (DataSpec("bits", 16, "binary", image_shape=(4, 4)), (4,), "a flow is a density of real numbers"),
    ],
)
def test_what_it_is_not_for_is_refused(spec: DataSpec, channels: tuple[int, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Glow(spec, channels)
