"""PSD: codes between the lasso's and their prediction, the energy of the paper, and an encoder that learns them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import ELBO
from ppgen.models import PSD

NUM, D, H = 30, 6, 9


def small_pair(**options: Any) -> PSD:
    torch.manual_seed(0)
    options = {"sparsity": 0.3, "iterations": 5_000} | options
    pair = PSD(DataSpec("numbers", D, "real", num_data=NUM), H, **options).double()
    with torch.no_grad():
        pair.weight.mul_(torch.linspace(0.55, 1.5, H))  # at a length of one there is an edge
        pair.encoder_bias.normal_()
        pair.gain.normal_()
    return pair


def data() -> Tensor:
    torch.manual_seed(1)
    codes = torch.randn(NUM, H) * (torch.rand(NUM, H) < 0.3)
    return (codes @ torch.randn(H, D) + 0.1 * torch.randn(NUM, D)).double()


def energy(pair: PSD, x: Tensor, z: Tensor) -> Tensor:
    off = (z - pair.encode(x)).square().sum(-1)
    error = (x - z @ pair.dictionary.T).square().sum(-1)
    return error / 2 + pair.sparsity * z.abs().sum(-1) + pair.prediction * off / 2


def test_codes_are_the_lassos_of_the_datum_and_its_prediction_side_by_side() -> None:
    pair, x = small_pair(prediction=0.4), data()
    rows = torch.cat([pair.dictionary, 0.4**0.5 * torch.eye(H)]).detach().numpy()  # (D + H, H)
    targets = torch.cat([x, 0.4**0.5 * pair.encode(x)], 1).detach().numpy()
    fitted = Lasso(0.3 / (D + H), fit_intercept=False, tol=1e-13, max_iter=100_000).fit(rows, targets.T)
    np.testing.assert_allclose(pair.refined(x).numpy(), fitted.coef_, atol=1e-6, rtol=0)


def test_the_bound_is_minus_the_energy_and_its_gradient_that_of_the_least_energy() -> None:
    pair, x = small_pair(noise=0.7), data()
    constants = D * math.log(2 * math.pi * 0.49) / 2 + H * math.log(2 * 0.49 / 0.3)
    loss = ELBO().differentiable_loss(pair.model, pair.guide, x)
    torch.testing.assert_close(loss, (energy(pair, x, pair.refined(x)) / 0.49 + constants).sum())
    slopes = torch.autograd.grad(loss, list(pair.parameters()))
    ways = [torch.randn_like(slope) for slope in slopes]
    values = []
    for step in (1e-4, -2e-4):
        with torch.no_grad():
            for parameter, way in zip(pair.parameters(), ways, strict=True):
                parameter.add_(step * way)
            values.append(float(energy(pair, x, pair.refined(x)).sum()) / 0.49)
    slope = sum(float((a * b).sum()) for a, b in zip(slopes, ways, strict=True))
    assert (values[0] - values[1]) / 2e-4 == pytest.approx(slope, rel=1e-4)


def test_in_evaluation_a_code_is_its_prediction() -> None:
    pair, x = small_pair().eval(), data()
    log_w = ppgen.log_weights(pair, (x,), num_particles=2)
    constants = D * math.log(2 * math.pi) / 2 + H * math.log(2 / 0.3)
    torch.testing.assert_close(log_w[0], -energy(pair, x, pair.encode(x)).detach() - constants)


def test_the_encoder_learns_to_predict_codes() -> None:
    torch.manual_seed(0)
    x = data()
    pair = PSD(DataSpec("numbers", D, "real", num_data=NUM), H, sparsity=0.3).double()

    def unexplained() -> float:
        z = pair.best_codes(x)
        return float((pair.encode(x).detach() - z).square().sum() / z.square().sum())

    before = unexplained()
    ppgen.fit(pair, x, ELBO(), epochs=60, batch_size=NUM, lr=0.05, seed=0, progress=False, eager=True)
    assert unexplained() < 0.35 < 0.5 < before


def test_what_is_not_real_is_refused() -> None:
    with pytest.raises(UsageError, match="PSD needs real data, but data 'bits' are binary"):
        PSD(DataSpec("bits", 3, "binary"))
