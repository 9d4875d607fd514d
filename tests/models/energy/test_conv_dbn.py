"""The convolutional deep belief net against sums over all of its states."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states
from tests.machines import FALSE_ALARM, p_value

DRAWS = 20_000
SIZE, POOL = 9, 2


def a_net(observation: str = "binary", **options: Any) -> Any:
    """Of 3 x 3 pictures, two filters of 2 x 2, and one block of 2 x 2 units of each."""
    torch.manual_seed(3)
    spec = DataSpec("bits", SIZE, observation, image_shape=(3, 3))  # type: ignore[arg-type]
    pair: Any = ppgen.make_pair("conv_dbn", spec, filters=2, hidden=3, kernel=2, pool=POOL, **options).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.7)
    return pair.requires_grad_(False)


def all_of(units: int) -> Tensor:
    (states,) = binary_states(units, torch.zeros((), dtype=torch.float64))
    return states


def log_joint(pair: Any, v: Tensor, on: tuple[int, int], above: Tensor) -> Tensor:
    """log p~(v, h, top units) of binary v (M, 9) as it is written on paper: ``on`` is of each filter the unit that is
    on, from 1 in the order of rows, and 0 for none."""
    eta, p = pair.visible_bias.reshape(3, 3).clone(), torch.zeros(2, dtype=torch.float64)
    total = v.new_zeros(len(v))
    for f, unit in enumerate(on):
        if unit:
            i, j = divmod(unit - 1, POOL)
            eta[i : i + 2, j : j + 2] += pair.weight_1[f, 0]
            p[f] = 1
            total += pair.place_logits[f].log_softmax(0)[unit - 1]
    logits = eta.flatten()
    total += (v * logits - torch.nn.functional.softplus(logits)).sum(1)
    total += p @ pair.hidden_bias_1 + above @ pair.hidden_bias_2 + p @ pair.weight_2 @ above
    return total


def summed(pair: Any, v: Tensor) -> Tensor:
    """log of the sum of p~ over all h and all units on top, (M,)."""
    terms = [
        log_joint(pair, v, (first, second), above) for first in range(5) for second in range(5) for above in all_of(3)
    ]
    return torch.stack(terms).logsumexp(0)


def numbers(v: Tensor) -> Tensor:
    return (v @ 2.0 ** torch.arange(SIZE - 1, -1, -1, dtype=v.dtype)).long()


def by_number(v: Tensor, each: Tensor) -> Tensor:
    """``each``, of every state v, in the order of their numbers."""
    return each[numbers(v).argsort()]


def test_the_free_energy_is_a_sum_over_all_states() -> None:
    pair, v = a_net(), all_of(SIZE)[::37]
    assert pair.free_energy_is_exact
    torch.testing.assert_close(-pair.free_energy(v), summed(pair, v))


@pytest.mark.parametrize("options", [{}, {"top_kernel": 1}])
def test_log_z_is_that_of_the_machine_on_top(options: dict[str, Any]) -> None:
    """What lies below is normalised: all p~(v) sum to Z."""
    pair = a_net(**options)
    torch.testing.assert_close((-pair.free_energy(all_of(SIZE))).logsumexp(0), pair.exact_log_z())


def test_the_mean_of_the_weights_is_the_evidence() -> None:
    """Within 4.5 standard errors of each of 14 data."""
    pair, v = a_net(), all_of(SIZE)[::37]
    log_w = ppgen.log_weights(pair, (v,), num_particles=2000)
    w = (log_w + pair.free_energy(v)).exp()
    assert bool(((w.mean(0) - 1).abs() < 4.5 * w.std(0) / math.sqrt(2000)).all())


def test_the_bound_of_a_wide_net_is_above_its_free_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, v = a_net(), all_of(SIZE)[::37]
    exact = pair.free_energy(v)
    monkeypatch.setattr(pair, "free_energy_is_exact", False)
    bounds = pair.free_energy(v.expand(1000, -1, -1))
    over, error = bounds.mean(0) - exact, bounds.std(0) / 1000**0.5
    assert bool((over > -4.5 * error).all())
    assert bool((over > 4.5 * error).any())


def test_what_is_drawn_from_the_top_has_the_marginal_of_the_net() -> None:
    pair, v = a_net(), all_of(SIZE)
    top = all_of(2)
    states = top[torch.multinomial(pair.log_tempered(top, 1.0).softmax(0), DRAWS, replacement=True)]
    (drawn,), latents = pair.descend(pair.sweep(states))
    law = by_number(v, (-pair.free_energy(v) - pair.exact_log_z()).exp())
    assert p_value(numbers(drawn), law) > FALSE_ALARM
    assert latents["h"].shape == (DRAWS, 2, 5)


def test_the_machine_on_top_is_shown_draws_of_the_pooling_units_or_their_means() -> None:
    pair, v = a_net(), all_of(SIZE)[300:301].expand(DRAWS, -1)
    (means,), (draws,) = (pair.shown_to(1, (v,), sample=sample) for sample in (False, True))
    pair.settle(0)
    assert torch.equal(pair.recognition_weight_1, pair.weight_1)
    assert bool(((draws.mean(0) - means[0]).abs() < 5 * 0.5 / math.sqrt(DRAWS)).all())
    torch.testing.assert_close(pair.shown_to(1, (v[:1],), sample=False)[0], pair.below.pooled(v[:1]))


def test_real_pictures_are_weighed_by_a_gaussian_of_their_scales() -> None:
    pair, v = a_net("real"), torch.randn(3, SIZE, dtype=torch.float64)
    (h,) = (pair.ascend((v,))["h"],)
    eta, scale = pair.below.eta(h), pair.below.layer.log_scale.exp()
    expected = torch.distributions.Normal(eta, scale).log_prob(v).sum(-1)
    places = (h * torch.nn.functional.pad(pair._places(), (1, 0))).sum((-2, -1))
    above = -pair.top.free_energy(1 - h[..., 0])
    torch.testing.assert_close(pair._log_joint(v, h), expected + places + above)


@pytest.mark.thorough
@pytest.mark.parametrize("options", [{}, {"top_kernel": 1}])
def test_it_learns_layer_by_layer_and_then_as_a_whole(options: dict[str, Any]) -> None:
    """A patch at one of four places, or none: exact log p(v) comes above what pixels alone can reach."""
    torch.manual_seed(0)
    pictures = torch.zeros(5, 3, 3)
    for place in range(4):
        i, j = divmod(place, 2)
        pictures[place, i : i + 2, j : j + 2] = 1
    x = pictures.flatten(1)[torch.randint(5, (200,))]
    mean = x.mean(0)
    spec = DataSpec("patches", SIZE, "binary", image_shape=(3, 3), mean=mean)
    pair: Any = ppgen.make_pair("conv_dbn", spec, filters=1, hidden=3, kernel=2, **options)
    run: Any = ppgen.fit(pair, x, "greedy, up_down", steps=600, batch_size=100, lr=0.05, seed=0, eager=True)
    assert {line["stage"] for line in run.metrics} == {"Greedy 1", "Greedy 2", "UpDown"}
    with torch.no_grad():
        found = float((-run.pair.free_energy(x)).mean() - run.pair.exact_log_z())
    assert found > 0.3 - float(torch.distributions.Bernoulli(mean).entropy().sum())


def test_upper_filters_are_the_linear_part_of_what_a_unit_on_top_draws() -> None:
    """Through pooling units that are on as far as it says, each with its four places alike."""
    pair = a_net()
    (found,) = pair.upper_filters()
    h = torch.zeros(3, 2, 5, dtype=torch.float64)
    h[..., 1:] = pair.weight_2.T.unsqueeze(-1) / POOL**2
    torch.testing.assert_close(found.T, pair.below.eta(h) - pair.visible_bias)
