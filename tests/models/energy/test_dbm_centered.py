"""Centered deep Boltzmann machines: the energy in states less offsets, and what that does to gradients."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.distributions.binary_states import binary_states
from ppgen.models import DBM

D, C = 3, 3
MEAN = torch.tensor([0.2, 0.5, 0.7])


def machine(hidden: tuple[int, ...], *, labels: bool = False, scale: float = 0.8) -> Any:
    torch.manual_seed(0)
    spec = ppgen.DataSpec("bits", D, "binary", mean=MEAN, num_classes=C)
    pair = DBM(spec, hidden, centered=True, labels=labels, tolerance=1e-12, rounds=1000).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, 0.0, scale)
    return pair


def joint(pair: Any) -> Tensor:
    """log p~ of every v and every h, as it is written on paper, (2^D, 2^sum hidden)."""
    (v,), (h,) = binary_states(D, pair.weight_1), binary_states(sum(pair.hidden), pair.weight_1)
    states = [v[:, None], *h.split(pair.hidden, -1)]
    names = ["visible_bias", *(f"hidden_bias_{k}" for k in range(1, len(states)))]
    total = sum((state * getattr(pair, name)).sum(-1) for state, name in zip(states, names, strict=True))
    offsets = [MEAN.double(), *(torch.full((size,), 0.5).double() for size in pair.hidden)]
    away = [state - offset for state, offset in zip(states, offsets, strict=True)]
    for k, (below, above) in enumerate(pairwise(away), start=1):
        total = total + ((below @ getattr(pair, f"weight_{k}")) * above).sum(-1)
    assert isinstance(total, Tensor)
    return total


@pytest.mark.parametrize("hidden", [(3, 2), (2, 3), (2, 2, 3)], ids=str)
def test_its_distribution_is_that_of_the_formula(hidden: tuple[int, ...]) -> None:
    pair = machine(hidden)
    (v,) = binary_states(D, pair.weight_1)
    expected = joint(pair).flatten().softmax(0).view(2**D, -1).sum(1)
    torch.testing.assert_close((-pair.free_energy(v) - pair.exact_log_z()).exp(), expected)
    found = ppgen.log_z(pair, num_temperatures=100, num_chains=400)
    assert found.value == pytest.approx(float(pair.exact_log_z()), abs=5 * found.standard_error)


@pytest.mark.parametrize("hidden", [(3, 2), (2, 2, 2)], ids=str)
def test_with_labels_it_is_the_machine_whose_biases_are_less_by_the_offsets(hidden: tuple[int, ...]) -> None:
    pair = machine(hidden, labels=True)
    spec = ppgen.DataSpec("bits", D, "binary", mean=MEAN, num_classes=C)
    plain: Any = DBM(spec, hidden, labels=True, tolerance=1e-12, rounds=1000).double()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(pair.get_parameter(name))
        top = len(hidden)
        halves = [torch.full((size,), 0.5).double() for size in hidden]
        plain.visible_bias -= pair.weight_1 @ halves[0]
        plain.label_bias -= pair.label_weight @ halves[-1]
        for k in range(1, top + 1):
            below = MEAN.double() if k == 1 else halves[k - 2]
            above = getattr(pair, f"weight_{k + 1}") @ halves[k] if k < top else pair.label_weight.sum(0) / C
            getattr(plain, f"hidden_bias_{k}").sub_(below @ getattr(pair, f"weight_{k}") + above)
    (x,) = binary_states(D, pair.weight_1)
    torch.testing.assert_close(pair.free_energy(x), plain.free_energy(x))
    torch.testing.assert_close(pair.mean_field_free_energy(x), plain.mean_field_free_energy(x))
    torch.testing.assert_close(pair.label_log_probs(x), plain.label_log_probs(x))
    torch.testing.assert_close(pair.exact_log_z(), plain.exact_log_z())
    s = pair.base_sample(50)
    torch.manual_seed(1)
    swept = pair.sweep(s)
    torch.manual_seed(1)
    assert torch.equal(swept, plain.sweep(s))


def test_units_at_their_offsets_give_the_weights_below_them_no_common_gradient() -> None:
    """At W2 = 0 and c2 = 0, h2 is at 1/2 whatever the data: the exact likelihood has no slope in W2, and without
    offsets it has one, the same for all of h2."""
    data = torch.tensor([[1.0, 0, 1], [1, 1, 1], [0, 0, 1]]).double()

    def slope(pair: Any) -> Tensor:
        with torch.no_grad():
            pair.weight_2.zero_()
            pair.hidden_bias_2.zero_()
        (states,) = binary_states(D + 2, data)  # of v and h2
        loss = pair.free_energy(data).mean() + pair.log_tempered(states, 1.0).logsumexp(0)
        found: Tensor = torch.autograd.grad(loss, pair.weight_2)[0]
        return found

    assert float(slope(machine((3, 2))).abs().max()) < 1e-12
    plain = DBM(ppgen.DataSpec("bits", D, "binary"), (3, 2)).double()
    torch.nn.init.normal_(plain.weight_1, 0.0, 0.8)
    found = slope(plain)
    assert float(found.abs().max()) > 0.01
    torch.testing.assert_close(found[:, 0], found[:, 1])


def test_greedy_learns_the_biases_without_offsets_and_ends_with_these() -> None:
    x = torch.rand(40, D, generator=torch.Generator().manual_seed(0)).round()
    found = []
    for centered in (False, True):
        torch.manual_seed(0)
        pair = DBM(ppgen.DataSpec("bits", D, "binary", mean=MEAN), (3, 2), centered=centered)
        run = ppgen.fit(pair, x, "greedy", steps=20, lr=0.05, eager=True, batch_size=10)
        with torch.no_grad():
            found.append(run.pair.free_energy(x) + run.pair.exact_log_z())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)
