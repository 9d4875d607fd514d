"""The sparsity penalty of objectives with a negative phase: its value and gradient against sums over hidden states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

import ppgen
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states
from ppgen.models import DBM, RBM
from ppgen.testing.sandbox import program_of

D, H = 4, 3
X = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0]]).double()


def a_machine(**options: Any) -> Any:
    torch.manual_seed(0)
    pair = RBM(DataSpec("bits", D, "binary"), H, **options).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return pair


def enumerated_means(pair: Any, copies: int = 1) -> Tensor:
    """q_j, (H,), by sums over the states of all bits of exp(log p~(v, h)) h_j; v's own part cancels."""
    (bits,) = binary_states(H * copies, X)
    units = bits.unflatten(-1, (H, copies))
    log_p = X @ pair.weight @ units.sum(-1).T + units.sum(-1) @ pair.hidden_bias  # (B, S)
    if copies > 1:
        log_p = log_p - (units * (torch.arange(copies) + 0.5)).sum((-1, -2))
    q: Tensor = (log_p.softmax(-1) @ units.sum(-1)).mean(0)
    return q


def loss_and_gradient(pair: Any, objective: Any) -> tuple[Tensor, Tensor, Any]:
    """Of one step per datum, from the same random numbers each time."""
    torch.manual_seed(5)
    program = program_of(pair)
    outcome = objective.play("all", program, (X,), objective.initial_state(program, (X,)))
    loss = outcome.loss / outcome.num_data
    return loss.detach(), parameters_to_vector(torch.autograd.grad(loss, list(pair.parameters()))), outcome.metrics


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("way", ["cd", "pcd", "parallel_tempering"])
def test_the_penalty_and_its_gradient_are_those_of_the_formula(way: str, copies: int) -> None:
    pair = a_machine() if copies == 1 else a_machine(units="rectified", copies=copies)
    plain, sparse = (
        ppgen.make_objective(way, **options) for options in ({}, {"sparsity": 2.5, "sparsity_target": 0.3})
    )
    (loss, gradient, before), (sparse_loss, sparse_gradient, metrics) = (
        loss_and_gradient(pair, objective) for objective in (plain, sparse)
    )
    means = enumerated_means(pair, copies)
    penalty = 2.5 * (0.3 - means).square().sum()
    by_formula = torch.autograd.grad(penalty, list(pair.parameters()), allow_unused=True, materialize_grads=True)
    assert float(sparse_loss - loss) == pytest.approx(float(penalty.detach()), abs=1e-12)
    assert torch.allclose(sparse_gradient - gradient, parameters_to_vector(by_formula), atol=1e-12)
    assert float(by_formula[0].abs().max()) > 1e-3  # of the weights too
    assert float(metrics["activation"].detach()) == pytest.approx(float(means.mean().detach()), abs=1e-12)
    assert "activation" not in before
    assert torch.equal(metrics["energy_gap"], before["energy_gap"])


def test_units_are_on_as_often_as_they_are_told() -> None:
    x = (torch.rand(400, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    on = {}
    for sparsity in (0.0, 50.0):
        torch.manual_seed(0)
        pair: Any = RBM(DataSpec("bits", 6, "binary"), H)
        objective = ppgen.inference.CD(sparsity=sparsity, sparsity_target=0.1)
        ppgen.fit(pair, x, objective, steps=300, batch_size=100, lr=0.03, eager=True, progress=False)
        on[sparsity] = float(pair.unit_means(x).mean().detach())
    assert on[50.0] == pytest.approx(0.1, abs=0.02)
    assert on[0.0] > 0.15


def test_a_filter_is_as_sparse_as_its_mean_over_places() -> None:
    torch.manual_seed(0)
    pair: Any = ppgen.make_pair("conv_rbm", DataSpec("small", 16, "binary", image_shape=(4, 4)), filters=2, kernel=3)
    v = torch.rand(5, 16).round()
    assert torch.allclose(pair.unit_means(v), pair.hidden_means(v).flatten(-2).mean(-1))
    loss = ppgen.inference.CD(sparsity=1.0).differentiable_loss(pair.model, pair.guide, v)
    loss.backward()
    assert bool(pair.hidden_bias.grad.abs().sum() > 0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ppgen.inference.CD(sparsity=-1.0), "sparsity"),
        (lambda: ppgen.inference.PCD(sparsity_target=-0.1), "sparsity_target"),
    ],
)
def test_a_penalty_below_zero_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ppgen.UsageError, match=sentence):
        make()


def test_a_pair_whose_units_tell_no_means_says_so() -> None:
    pair = DBM(DataSpec("bits", 4, "binary"), hidden=(3, 2))
    with pytest.raises(ppgen.UsageError, match="DBM does not tell any: leave sparsity out"):
        ppgen.inference.PCD(sparsity=1.0).loss(pair.model, pair.guide, torch.ones(3, 4))
