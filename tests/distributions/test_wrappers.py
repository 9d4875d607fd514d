"""Distributions within distributions."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution

from ppgen.distributions.wrappers import core_of, family_name, is_made_masked, nested

CORE = dist.Normal(torch.zeros(3), 1.0)
WRAPPED: list[tuple[Any, int, bool]] = [
    (CORE, 1, False),
    (CORE.to_event(1), 2, False),
    (CORE.mask(False), 2, True),
    (CORE.mask(False).to_event(1), 3, True),
    (ExpandedDistribution(CORE.mask(False), torch.Size((2, 3))).to_event(1), 4, True),
]


@pytest.mark.parametrize(("fn", "depth", "masked"), WRAPPED)
def test_the_innermost_is_found_whatever_is_around_it(fn: Any, depth: int, masked: bool) -> None:
    assert core_of(fn) is CORE
    assert len([*nested(fn)]) == depth
    assert is_made_masked(fn) == masked
    assert family_name(fn) == "Normal"
