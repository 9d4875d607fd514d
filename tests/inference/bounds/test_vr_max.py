"""The largest of two log-weights in closed form: log w of the linear-Gaussian pair is a quadratic of its noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import IWELBO, STL, DReG, Renyi, VRMax
from tests.doubles import Line
from tests.inference.mutants import LargestByShares
from tests.inference.truth import (
    CRITICAL,
    Parameters,
    error_of_mean,
    exact_gradient,
    gradient_draws,
    line_log_w,
    value_draws,
    z_scores,
)


def exact(parameters: Parameters) -> Tensor:
    """E max(log w_1, log w_2) = E (log w_1 + log w_2) / 2 + E |log w_1 - log w_2| / 2.

    With log w = a + b e + c e^2, e_1 - e_2 = sqrt(2) u and e_1 + e_2 = sqrt(2) v, u and v independent and standard
    normal, the difference is sqrt(2) u (b + sqrt(2) c v), a product of two absolute values of normals.
    """
    low, middle, high = (line_log_w(parameters, torch.tensor([e], dtype=torch.float64)) for e in (-1.0, 0.0, 1.0))
    b, c = (high - low) / 2, (high + low) / 2 - middle
    scale = math.sqrt(2) * c.abs()
    folded = scale * math.sqrt(2 / math.pi) * (-((b / scale).square()) / 2).exp() + b * torch.erf(
        b / (scale * math.sqrt(2))
    )
    return middle + c + math.sqrt(2) * math.sqrt(2 / math.pi) * folded / 2


def test_value_and_gradient_are_those_of_the_largest_weight() -> None:
    objective, pair = VRMax(num_particles=2), Line(100_000)
    value = value_draws(objective, Line(), 100_000)
    assert abs(float(value.mean()) - float(exact(Line().state_dict()))) < 4 * error_of_mean(value)
    expected = exact_gradient(exact, Line())
    scores = z_scores(gradient_draws(objective, pair, rounds=4), expected)
    assert max(map(abs, scores.values())) < CRITICAL
    wrong = z_scores(gradient_draws(LargestByShares(), pair, rounds=4), expected)
    assert max(map(abs, wrong.values())) > CRITICAL


def test_it_is_the_limit_of_the_renyi_bound_above_the_importance_weighted_one() -> None:
    log_w = torch.randn(4, 50, dtype=torch.float64)
    largest = VRMax(num_particles=4).reduce(log_w)
    torch.testing.assert_close(largest, Renyi(num_particles=4, alpha=-1e6).reduce(log_w), rtol=0, atol=1e-5)
    importance = IWELBO(num_particles=4).reduce(log_w)
    assert (importance < largest).all()
    assert (largest <= importance + math.log(4)).all()
    assert torch.equal(VRMax().weights(log_w), torch.func.grad(lambda w: VRMax().reduce(w).sum())(log_w))


def test_what_differentiates_its_weights_is_refused() -> None:
    assert not VRMax().is_bound
    with pytest.raises(UsageError, match="DReG differentiates the weights of its bound, and those of VRMax jump"):
        DReG(bound="vr_max")
    assert not STL(bound="vr_max", num_particles=2).unbiased_gradient
