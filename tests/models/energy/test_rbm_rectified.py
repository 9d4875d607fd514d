"""Rectified hidden units, stacks of bits, against sums over every bit, float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pyro import poutine
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states
from ppgen.layers.hiddens import hidden_layer
from ppgen.models import RBM
from ppgen.pairs.parameters import isolated
from tests.machines import FALSE_ALARM, p_value

D, H, N, C = 4, 2, 3, 2


def a_machine(kind: str = "binary", **options: Any) -> Any:
    torch.manual_seed(0)
    spec = DataSpec("data", D, kind, num_classes=C if options.get("labels") else None)  # type: ignore[arg-type]  # a name
    pair = RBM(spec, H, units="rectified", copies=N, **options).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=0.9)
    torch.nn.init.normal_(pair.base_bias, std=0.5)
    return pair


def all_of(units: int) -> Tensor:
    (states,) = binary_states(units, torch.zeros((), dtype=torch.float64))
    return states


def log_joint(pair: Any, b: float = 1.0) -> Tensor:
    """log p~_b(v, bits) of a binary machine, (2^D, 2^(H N)), unit by unit and bit by bit."""
    v, bits = all_of(D)[:, None], all_of(H * N)  # (2^D, 1, D), (2^(H N), H N)
    total: Tensor = (1 - b) * (v @ pair.base_bias) + b * (v @ pair.visible_bias)
    for j in range(H):
        for i in range(N):
            bit = bits[:, j * N + i]
            total = total + bit * (b * (v @ pair.weight[:, j] + pair.hidden_bias[j]) - (i + 0.5))
    return total


def test_the_free_energy_and_log_z_are_sums_over_all_bits() -> None:
    pair, joint = a_machine(), log_joint(a_machine())
    assert torch.allclose(-pair.free_energy(all_of(D)), joint.logsumexp(1), atol=1e-12)
    assert torch.allclose(pair.exact_log_z(), joint.logsumexp((0, 1)), atol=1e-12)
    over_bits = pair.exact_log_zs(torch.ones(1, dtype=torch.float64))  # by the other side
    assert torch.allclose(over_bits[0], joint.logsumexp((0, 1)), atol=1e-12)


def test_the_model_and_the_guide_state_the_joint_and_its_posterior() -> None:
    pair, joint = a_machine(), log_joint(a_machine())
    for row, v in enumerate(all_of(D)[:5]):
        with isolated(), poutine.trace() as tracer:
            pair.guide(v[None])
        guide: Any = tracer.trace.nodes["h"]["fn"]
        assert torch.allclose(guide.log_prob(all_of(H * N)), joint[row].log_softmax(0), atol=1e-12)
    v = all_of(D)
    log_w = ppgen.log_weights(pair, (v,), num_particles=4)
    assert torch.allclose(log_w, joint.logsumexp(1).detach().expand(4, -1), atol=1e-10)


@pytest.mark.parametrize("b", [0.0, 0.5, 1.0])
def test_sweeps_leave_the_tempered_distribution_invariant(b: float) -> None:
    """A chi-square test of 20,000 exact draws, swept once."""
    pair, num = a_machine(), 20_000
    log_p = log_joint(pair, b).logsumexp(1).detach()
    assert torch.allclose(pair.log_tempered(all_of(D), b), log_p, atol=1e-12)
    if b == 0:
        assert torch.allclose(pair.base_log_z(), log_p.logsumexp(0), atol=1e-12)
    drawn = all_of(D)[torch.multinomial(log_p.softmax(0), num, replacement=True)]
    moved = pair.sweep(drawn) if b == 1 else pair.tempered_sweep(drawn, b)
    assert p_value((moved @ 2.0 ** torch.arange(D).double()).long(), log_p.softmax(0)) > FALSE_ALARM


def test_long_chains_give_the_gradient_of_the_likelihood() -> None:
    """24 rounds of CD with 30 sweeps: within 5 standard errors of autograd through the sum over all states."""
    pair, x = a_machine(), all_of(D)[3:9]
    joint = log_joint(pair)
    exact = torch.autograd.grad(joint.logsumexp((0, 1)) - joint[3:9].logsumexp(1).mean(), list(pair.parameters()))
    rounds = []
    torch.manual_seed(0)
    for _ in range(24):
        loss = ppgen.inference.CD(num_steps=30).differentiable_loss(pair.model, pair.guide, x.repeat(300, 1))
        rounds.append(torch.autograd.grad(loss / (300 * len(x)), list(pair.parameters())))
    for found, gradient in zip(map(torch.stack, zip(*rounds, strict=True)), exact, strict=True):
        assert bool(((found.mean(0) - gradient).abs() < 5 * found.std(0) / 24**0.5 + 1e-9).all())


def test_annealing_finds_the_exact_log_z() -> None:
    pair = a_machine()
    found, exact = ppgen.log_z(pair, num_temperatures=200), ppgen.log_z(pair, exact=True)
    assert abs(found.value - exact.value) < 4 * found.standard_error


@pytest.mark.parametrize("labels", [False, True])
def test_documents_of_rectified_units_grow_along_the_same_path(labels: bool) -> None:
    pair = a_machine("counts", labels=labels)
    path, h, n = pair.growing(), all_of(H * N), torch.tensor([0.0, 1, 4, 20]).double()
    found = path.log_tempered(h, n[:, None]).logsumexp(-1)
    assert torch.allclose(found[1:], pair.exact_log_zs(n[1:]), atol=1e-11)
    assert torch.allclose(found[0], path.base_log_z(), atol=1e-12)
    x = torch.cartesian_prod(*[torch.arange(4.0, dtype=torch.float64)] * D)
    x = x[x.sum(1) == 3]
    of_three = (-pair.free_energy(x)).logsumexp(0)
    assert torch.allclose(pair.exact_log_zs(torch.tensor([3.0]).double())[0], of_three, atol=1e-11)


def test_classes_of_rectified_units_are_sums_of_the_joint() -> None:
    pair, x = a_machine(labels=True), all_of(D)
    each = [-pair.free_energy(pair.datum((x, torch.full((len(x),), label)))) for label in range(C)]
    assert torch.allclose(pair.label_log_probs(x), torch.stack(each, 1).log_softmax(1), atol=1e-12)


def test_a_unit_is_the_rectified_one_up_to_its_number_of_copies() -> None:
    """sum_i sigmoid(x - i + 1/2) against log(1 + e^x): the midpoint rule of an integral, within 0.02 everywhere."""
    layer, x = hidden_layer(1, "rectified", 30).double(), torch.linspace(-8, 20, 57, dtype=torch.float64)[:, None]
    found = layer.means(x).squeeze(1)
    assert float((found - torch.nn.functional.softplus(x.squeeze(1))).abs().max()) < 0.02
    assert hidden_layer(5, "rectified").num_bits == 50
    assert float(layer.means(torch.full((1, 1), 500.0, dtype=torch.float64))) == pytest.approx(30)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"copies": 3}, "copies are those of a rectified unit, got 3 and binary units"),
        ({"units": "rectifed"}, "rectified"),
        ({"units": "rectified", "copies": 0}, "copies must be"),
    ],
)
def test_units_that_do_not_fit_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ppgen.UsageError, match=sentence):
        ppgen.make_pair("rbm", DataSpec("bits", D, "binary"), hidden=H, **options)


def test_rectified_units_learn() -> None:
    x = (torch.rand(200, 1, generator=torch.Generator().manual_seed(0)) < 0.5).float().repeat(1, 5)
    torch.manual_seed(0)
    pair: Any = RBM(DataSpec("bits", 5, "binary"), 3, units="rectified", copies=4)
    ppgen.fit(pair, x, "pcd", steps=600, batch_size=100, lr=0.01, seed=0, eager=True, progress=False)
    nats = -pair.free_energy(x).mean() - pair.exact_log_z()
    assert float(nats.detach()) > -1.5  # independent bits have -3.47, the truth -0.69
