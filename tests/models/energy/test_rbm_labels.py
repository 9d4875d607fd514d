"""Machines whose label is a visible unit too, against sums over all states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.distributions.binary_states import binary_states
from ppgen.layers.labels import one_hot

D, H, C = 4, 3, 3


def a_machine(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    spec = ppgen.DataSpec("bits", D, "binary", num_classes=C)
    pair: Any = ppgen.make_pair("rbm", spec, hidden=H, labels=True).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.8)
    return pair


def all_of(units: int) -> Tensor:
    (states,) = binary_states(units, torch.zeros((), dtype=torch.float64))
    return states


def log_joint(pair: Any) -> Tensor:
    """log p~(x, y, h) of every x, y and h, (2^D, C, 2^H), as it is written on paper."""
    x, h = all_of(D)[:, None, None], all_of(H)
    label, own = pair.label_weight[:, None], x @ pair.visible_bias + ((x @ pair.weight) * h).sum(-1)
    joint: Tensor = own + pair.label_bias[:, None] + (label * h).sum(-1) + h @ pair.hidden_bias
    return joint


def test_free_energies_and_classes_are_sums_of_the_joint() -> None:
    pair, x, joint = a_machine(), all_of(D), log_joint(a_machine())
    y = torch.arange(C)
    both = torch.stack([pair.datum((x, torch.full((len(x),), label))) for label in y], 1)  # (2^D, C, D + C)
    assert torch.allclose(-pair.free_energy(both), joint.logsumexp(-1), atol=1e-12)
    assert torch.allclose(-pair.free_energy(x), joint.logsumexp((1, 2)), atol=1e-12)
    assert torch.allclose(pair.label_log_probs(x), joint.logsumexp(-1).log_softmax(-1), atol=1e-12)
    assert torch.allclose(pair.classify(x).sum(-1), torch.ones(len(x), dtype=torch.float64))
    assert torch.allclose(pair.exact_log_z(), joint.logsumexp((0, 1, 2)), atol=1e-12)


def test_log_weights_are_of_the_datum_with_its_label() -> None:
    pair, x = a_machine(), all_of(D)
    y = torch.arange(len(x)) % C
    log_w = ppgen.log_weights(pair, (x, y), num_particles=3)
    expected = log_joint(pair).logsumexp(-1)[torch.arange(len(x)), y]
    assert torch.allclose(log_w, expected.expand(3, -1), atol=1e-10)


def test_long_chains_give_the_gradient_of_the_joint_likelihood() -> None:
    pair, x = a_machine(), all_of(D)
    y = torch.arange(len(x)) % C
    log_p = log_joint(pair)[torch.arange(len(x)), y].logsumexp(-1).mean() - log_joint(pair).logsumexp((0, 1, 2))
    exact = torch.autograd.grad(-log_p, list(pair.parameters()))
    objective = ppgen.inference.CD(num_steps=40)
    torch.manual_seed(0)
    rounds = []
    for _ in range(24):
        loss = objective.differentiable_loss(pair.model, pair.guide, x.repeat(300, 1), y.repeat(300)) / (300 * len(x))
        rounds.append(torch.autograd.grad(loss, list(pair.parameters())))
    for found, gradient in zip(map(torch.stack, zip(*rounds, strict=True)), exact, strict=True):
        assert bool(((found.mean(0) - gradient).abs() < 5 * found.std(0) / 24**0.5 + 1e-9).all())


def test_chains_that_hold_their_labels_draw_from_p_of_x_given_y() -> None:
    """A chi-square test of 60,000 exact draws, swept twice with the label held, with one false alarm in 10,000."""
    pair, num = a_machine(), 60_000
    x = all_of(D)
    law = log_joint(pair)[:, 1].logsumexp(-1).softmax(0).detach()
    start = x[torch.multinomial(law, num, replacement=True)]
    states = torch.cat([start, torch.zeros(num, C, dtype=torch.float64)], -1)
    (moved,) = pair.chain_states(num, states, (2,), labels_of=(x[:1], torch.tensor([1])))
    assert bool((moved[:, D:] == one_hot(torch.tensor([1]), C, moved)).all())
    found = (moved[:, :D] @ 2.0 ** torch.arange(D).double()).long().bincount(minlength=2**D)
    chi_square = ((found - num * law).square() / (num * law)).sum()
    assert float(chi_square) < 44.3  # of 15 degrees of freedom


@pytest.mark.thorough
def test_a_machine_with_labels_goes_the_whole_way() -> None:
    data = ppgen.load_data("digits", labels=True)
    pair = ppgen.make_pair("rbm", data.spec, hidden=30, labels=True)
    run = ppgen.fit(pair, data, "pcd", steps=300, batch_size=100, lr=0.01, eager=True, progress=False)
    assert run.chains is not None
    assert run.chains.shape == (100, 64 + 10)
    found = run.evaluate(particles=2, log_z=ppgen.log_z(pair, num_temperatures=100))
    assert {measure.name: measure.value for measure in found.measures}["accuracy"] > 0.5  # by chance 0.1
    assert run.sample(3).x.shape == (3, 64)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((torch.zeros(3, D),), "takes batches \\(x, y\\) with labels y"),
        ((torch.zeros(3, D), torch.zeros(3)), "whole numbers, got \\(3,\\) of torch.float32"),
        ((torch.zeros(3, D), torch.tensor([0, 1, C])), "labels 0 to 2, got 3 in row 2"),
        ((torch.zeros(3, D), torch.tensor([0, -1, 1])), "labels 0 to 2, got -1 in row 1"),
    ],
)
def test_labels_that_are_missing_or_no_class_are_told(batch: tuple[Tensor, ...], words: str) -> None:
    pair = a_machine().float()
    with pytest.raises(ppgen.UsageError, match=words):
        ppgen.inference.CD().loss(pair.model, pair.guide, *batch)


def test_data_without_labels_and_a_machine_without_them_are_told() -> None:
    with pytest.raises(ppgen.UsageError, match="come without labels"):
        ppgen.make_pair("rbm", ppgen.DataSpec("bits", D, "binary"), hidden=H, labels=True)
    plain: Any = ppgen.make_pair("rbm", ppgen.DataSpec("bits", D, "binary"), hidden=H)
    with pytest.raises(ppgen.UsageError, match="no labels"):
        plain.classify(torch.zeros(2, D))


def test_a_machine_without_labels_is_evaluated_on_data_that_have_them() -> None:
    data = ppgen.load_data("digits", labels=True)
    pair = ppgen.make_pair("rbm", data.spec, hidden=3)
    log_z = ppgen.log_z(pair, num_temperatures=10)
    found = ppgen.evaluation.evaluate(pair, data, particles=1, num_data=50, log_z=log_z, labels=False)
    assert found.measures == ()


def test_a_one_hot_has_the_type_of_the_data() -> None:
    found = one_hot(torch.tensor([2, 0]), 3, torch.zeros((), dtype=torch.float64))
    assert found.dtype == torch.float64
    assert found.tolist() == [[0, 0, 1], [1, 0, 0]]
