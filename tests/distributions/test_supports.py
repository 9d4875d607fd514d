"""NUTS and autoguides reach the support of a mixture."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import biject_to, transform_to

import ppgen  # noqa: F401  # which registers the bijections


@pytest.mark.parametrize("registry", [biject_to, transform_to], ids=["biject_to", "transform_to"])
def test_the_reals_are_mapped_to_the_support_of_the_components(registry: object) -> None:
    parts = dist.Gamma(torch.ones(2, 3), 1.0).to_event(1)
    support = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), parts).support
    transform = registry(support)  # type: ignore[operator]
    reals = torch.randn(5, 3)
    assert bool((transform(reals) > 0).all())
    assert torch.allclose(transform.inv(transform(reals)), reals, atol=1e-5)
    assert transform.log_abs_det_jacobian(reals, transform(reals)).shape == (5,)
