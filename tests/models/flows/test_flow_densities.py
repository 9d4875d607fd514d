"""Flows as densities: normalised, as the change of variables has them, and drawn from as they are scored."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation.bounds import evidence_of
from ppgen.inference import ELBO
from ppgen.models import MAF, NeuralSpline, RealNVP
from ppgen.pairs.pair import Pair
from ppgen.report.density import density_in_the_plane

MAKERS: dict[str, Callable[..., Any]] = {
    "realnvp": partial(RealNVP, num=3, hidden=(8,)),
    "maf": partial(MAF, num=3, hidden=(8,)),
    "neural_spline": partial(NeuralSpline, num=2, hidden=(8,), bins=5),
}
EVERY = pytest.mark.parametrize("name", MAKERS)


def bent(name: str, dim: int = 2, by: float = 0.2) -> Any:
    """An untrained flow, whose parameters are moved at random."""
    torch.manual_seed(0)
    pair = MAKERS[name](DataSpec("numbers", dim, "real")).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return pair


def log_p(pair: Pair, x: Tensor) -> Tensor:
    return ppgen.log_weights(pair, (x,), num_particles=1)[0]


def transforms(pair: Any) -> list[Any]:
    """All that stand between the Gaussian and x."""
    density = pair.density()
    return [*density.base_dist.transforms, *density.transforms]


def to_base(pair: Any, x: Tensor) -> Tensor:
    for transform in reversed(transforms(pair)):
        x = transform.inv(x)
    return x


@EVERY
def test_the_density_integrates_to_one(name: str) -> None:
    """A sum over squares of 0.1, whose error for densities bent as little is below 1e-3."""
    axis = torch.arange(-8, 8, 0.1).double()
    x = torch.cartesian_prod(axis, axis)
    assert float(log_p(bent(name, by=0.1), x).exp().sum() * 0.1**2) == pytest.approx(1.0, abs=2e-3)


@EVERY
def test_the_density_is_that_of_the_change_of_variables(name: str) -> None:
    """log p(x) = log N(u) + log |det du / dx|, the Jacobian by automatic differentiation."""
    pair, x = bent(name, 3), torch.randn(4, 3).double()
    u = to_base(pair, x)
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda y: to_base(pair, y), one) for one in x])
    expected = -0.5 * (u.square() + math.log(2 * math.pi)).sum(-1) + torch.linalg.slogdet(jacobians).logabsdet
    torch.testing.assert_close(log_p(pair, x), expected)


@EVERY
def test_what_is_drawn_is_of_the_density_that_is_scored(name: str) -> None:
    """Draws turned back are standard normal: moments of 5,000, 5 standard errors off at most (1e-6 each); and turning
    back is exact to 1e-6."""
    pair = bent(name, 3)
    with torch.no_grad():
        x = pair.density().sample((5_000,))
        u = again = to_base(pair, x)
        for transform in transforms(pair):
            again = transform(again)
    torch.testing.assert_close(again, x, rtol=1e-6, atol=1e-6)
    error = 5 / math.sqrt(len(u))
    assert (u.mean(0).abs() < error).all()
    assert ((u.square().mean(0) - 1).abs() < math.sqrt(2) * error).all()
    assert ((u[:, [0, 0, 1]] * u[:, [1, 2, 2]]).mean(0).abs() < error).all()


@EVERY
def test_an_untrained_flow_begins_at_the_gaussian_of_the_data(name: str) -> None:
    torch.manual_seed(0)
    x = (torch.randn(500, 3) * torch.tensor([0.1, 1.0, 5.0]) + torch.tensor([3.0, 0.0, -2.0])).double()
    pair = MAKERS[name](DataSpec("numbers", 3, "real", num_data=500)).double()
    pair.start_from(x, seed=0)
    expected = torch.distributions.Normal(x.mean(0), x.std(0)).log_prob(x).sum(-1)
    slack = 1e-2 if name == "neural_spline" else 1e-9  # the slope of a spline at its ends is 0.999
    torch.testing.assert_close(log_p(pair, x), expected, rtol=slack, atol=slack)
    assert not pair.waits_for_data


@EVERY
def test_a_flow_of_grey_levels_begins_as_wide_as_they_are_in_their_cells(name: str) -> None:
    """Level 0 of 4, always: y = u / 4, whose logit has a standard deviation of 1.1 by quadrature; 4 errors of 0.02."""
    torch.manual_seed(0)
    pair = MAKERS[name](DataSpec("levels", 2, "quantised", levels=4), alpha=1e-6)
    pair.start_from(torch.zeros(5_000, 2), seed=0)
    s = ((torch.arange(10_000) + 0.5) / 40_000).logit()
    torch.testing.assert_close(pair.density.loc.detach(), s.mean().expand(2), rtol=0, atol=0.08)
    torch.testing.assert_close(pair.density.log_scale.detach().exp(), s.std().expand(2), rtol=0, atol=0.08)


def test_a_training_begins_at_the_data_and_a_flow_of_one_layer_finds_a_gaussian() -> None:
    """One affine autoregressive layer of linear enough data is any Gaussian: its entropy is reached to 0.03 nats."""
    torch.manual_seed(0)
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    x = 50 + torch.randn(2_000, 2) @ factor.T
    pair = MAF(DataSpec("numbers", 2, "real", num_data=len(x)), num=1, hidden=(16,))
    ppgen.fit(pair, x, ELBO(), steps=200, batch_size=200, lr=2e-2, seed=0, progress=False, eager=True)
    truth = torch.distributions.MultivariateNormal(torch.full((2,), 50.0), scale_tril=factor).log_prob(x)
    assert float((truth - log_p(pair, x)).mean()) < 0.03


@EVERY
def test_log_p_of_real_data_is_exact(name: str) -> None:
    pair, x = bent(name), torch.randn(5, 2).double()
    assert evidence_of(pair, (x,)) == "exact"


@EVERY
def test_stock_svi_and_predictive_take_it(name: str) -> None:
    pair, x = bent(name), torch.randn(5, 2).double()
    loss = pyro.infer.Trace_ELBO().loss(pair.model, pair.guide, x)
    assert loss == pytest.approx(-float(log_p(pair, x).sum()))


def test_the_page_pictures_a_density_in_the_plane() -> None:
    run = ppgen.fit(MAKERS["maf"](DataSpec("numbers", 2, "real")), torch.randn(20, 2), ELBO(), steps=1, eager=True)
    section = density_in_the_plane(run)
    assert section is not None
    assert section.figures[0].caption.startswith("The density (left)")


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: MAF(DataSpec("r", 20, "real"), hidden=(8,)), r"20 numbers needs hidden layers as wide .*\(8,\)|\[8\]"),
        (lambda: RealNVP(DataSpec("r", 1, "real")), "a vector of one number"),
        (lambda: NeuralSpline(DataSpec("r", 2, "real"), bins=0), "bins .*must be"),
        (lambda: MAF(DataSpec("w", 4, "counts", length=3)), "are counts: give it real data or grey levels"),
    ],
)
def test_what_a_flow_cannot_be_made_of_is_one_sentence(made: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        made()
