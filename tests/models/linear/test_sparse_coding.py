"""Sparse coding: codes against scikit-learn's lasso, the bound against the lasso's objective, both steps of hard EM."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import Lasso
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.inference import ELBO, EM
from ppgen.layers.lasso import lasso_codes
from ppgen.layers.sparse_codes import fitted_dictionary
from ppgen.models import SparseCoding

NUM, D, H = 30, 6, 9


def small_pair(**options: Any) -> SparseCoding:
    torch.manual_seed(0)
    options = {"sparsity": 0.3, "iterations": 5_000} | options
    return SparseCoding(DataSpec("numbers", D, "real", num_data=NUM), H, **options).double()


def data() -> Tensor:
    """Sums of few columns of another dictionary, and noise."""
    torch.manual_seed(1)
    codes = torch.randn(NUM, H) * (torch.rand(NUM, H) < 0.3)
    return (codes @ torch.randn(H, D) + 0.1 * torch.randn(NUM, D)).double()


def lasso(pair: SparseCoding, x: Tensor, z: Tensor) -> Tensor:
    return (x - z @ pair.dictionary.T).square().sum(-1) / 2 + pair.sparsity * z.abs().sum(-1)


@torch.no_grad()
def em_step(pair: SparseCoding, x: Tensor) -> float:
    for name, value in pair.maximised(pair.expected_statistics(x, hard=True)).items():
        pair.get_parameter(name).copy_(value)
    return float(pair.log_joint(x).sum())


def test_codes_are_scikit_learns() -> None:
    pair, x = small_pair(), data()
    z, W = pair.encode(x).numpy(), pair.dictionary.detach().numpy()
    encoded = sparse_encode(x.numpy(), W.T, algorithm="lasso_cd", alpha=0.3, max_iter=100_000)
    fitted = Lasso(0.3 / D, fit_intercept=False, tol=1e-13, max_iter=100_000).fit(W, x.numpy().T)
    assert 0.2 < (z != 0).mean() < 0.8
    np.testing.assert_allclose(z, encoded, atol=1e-5, rtol=0)  # its own tolerance is the larger
    np.testing.assert_allclose(z, fitted.coef_, atol=1e-5, rtol=0)


def test_a_code_does_not_depend_on_the_other_data() -> None:
    pair, x = small_pair(), data()
    together = pair.encode(x)
    alone = torch.cat([pair.encode(one[None]) for one in x])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)
    assert torch.equal(pair.encode(x.reshape(5, 6, D)), together.reshape(5, 6, H))


def test_fewer_steps_give_a_worse_code() -> None:
    pair, x = small_pair(), data()
    values = []
    for pair.iterations in (1, 10, 100):
        values.append(float(lasso(pair, x, pair.encode(x)).sum().detach()))
    assert values == sorted(values, reverse=True)
    assert values[0] > values[2] + 0.1


def test_a_singular_or_zero_quadratic_has_codes() -> None:
    zero = torch.zeros(3, 3, dtype=torch.float64)
    assert torch.equal(lasso_codes(zero, zero, 0.5, 10), zero)
    twins = torch.ones(2, 2, dtype=torch.float64)  # the two may share the code as they like
    found = lasso_codes(twins, torch.tensor([[3.0, 3.0]]).double(), 0.5, 1_000)
    torch.testing.assert_close(found.sum(), torch.tensor(2.5).double())


def test_the_bound_is_minus_the_lassos_objective() -> None:
    pair, x = small_pair(noise=0.7), data()
    z = pair.encode(x)
    constants = D * math.log(2 * math.pi * 0.49) / 2 + H * math.log(2 * 0.49 / 0.3)
    wanted = (lasso(pair, x, z) / 0.49 + constants).sum()
    torch.testing.assert_close(ELBO().differentiable_loss(pair.model, pair.guide, x), wanted)
    torch.testing.assert_close(-pair.log_joint(x).sum(), wanted)


def test_the_gradient_is_that_of_the_least_objective() -> None:
    """Codes move with W, and being where the objective is least, add nothing to its slope."""
    pair, x = small_pair(), data()
    with torch.no_grad():
        pair.weight.mul_(torch.linspace(0.55, 1.5, H))  # at a length of one there is an edge
    ELBO().loss_and_grads(pair.model, pair.guide, x)
    assert pair.weight.grad is not None
    ways = torch.randn_like(pair.weight)
    values = []
    for step in (1e-4, -1e-4):
        with torch.no_grad():
            pair.weight.add_(step * ways)
            values.append(float(lasso(pair, x, pair.encode(x)).sum()))
            pair.weight.sub_(step * ways)
    slope = (values[0] - values[1]) / 2e-4
    assert slope == pytest.approx(float((pair.weight.grad * ways).sum()), rel=1e-5)


def test_hard_em_never_lowers_the_joint() -> None:
    pair, x = small_pair(), data()
    values = [float(pair.log_joint(x).sum().detach())] + [em_step(pair, x) for _ in range(30)]
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values))
    assert values[-1] > values[0] + 1


def test_the_dictionary_is_of_least_squares_under_its_bound() -> None:
    torch.manual_seed(2)
    z, noise = torch.randn(40, 4).double(), torch.randn(40, D).double()
    for length in (0.3, 5.0):
        x = z @ (length * torch.randn(4, D).double()) / D**0.5 + 0.1 * noise
        statistics = {"zz": z.T @ z, "xz": x.T @ z}
        W = torch.randn(D, 4).double()
        for _ in range(50):
            W = fitted_dictionary(W, statistics)
        directions = torch.linalg.solve(statistics["zz"], statistics["xz"].T).T  # of the method of optimal directions
        free = bool((directions.norm(dim=0) < 1).all())
        assert free == (length < 1)
        if free:
            torch.testing.assert_close(W, directions, atol=1e-3, rtol=0)
        slope = W @ statistics["zz"] - statistics["xz"]  # of a column at its bound: along it, inwards
        outwards = (slope * W).sum(0).clamp_max(0)
        assert (slope - W * outwards).norm() < 1e-2 * statistics["xz"].norm()


def test_a_column_that_no_code_uses_stays() -> None:
    pair = small_pair(sparsity=100.0)
    found = pair.maximised(pair.expected_statistics(data()))["weight"]
    torch.testing.assert_close(found, pair.dictionary)


def test_em_in_the_loop_takes_the_steps_and_says_what_it_needs() -> None:
    pair, other, x = small_pair(), small_pair(), data()
    ppgen.fit(pair, x, EM(hard=True), epochs=3, batch_size=7, seed=0, progress=False)
    for _ in range(3):
        em_step(other, x)
    torch.testing.assert_close(pair.weight, other.weight)
    with pytest.raises(UsageError, match=r"EM takes expectations .* of SparseCoding, .*: train with hard=True"):
        ppgen.fit(pair, x, EM(), epochs=1, progress=False)


def test_evaluate_says_that_it_is_at_a_point_and_how_far_reconstructions_are() -> None:
    pair, x = small_pair(), data()
    found = evaluate(pair, x, particles=5, progress=False)
    assert found.method == "point"
    errors = {measure.name: measure.value for measure in found.measures}
    assert errors["squared_error"] == pytest.approx(float((x - pair.reconstruct(x)).square().sum(-1).mean().detach()))


def test_what_is_not_real_is_refused() -> None:
    with pytest.raises(UsageError, match="SparseCoding needs real data, but data 'bits' are binary"):
        SparseCoding(DataSpec("bits", 3, "binary"))
