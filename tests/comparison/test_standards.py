"""What bias is measured from, where it is asked for: a sum over states, a quadrature, a long run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ppgen
from ppgen import DataSpec, UsageError
from ppgen.models import SBN, VAE


def test_what_bias_is_measured_from_can_be_asked_for() -> None:
    """Two bits, summed: exact to the numbers of the sum, or ten times as many draws of the reference."""
    torch.manual_seed(0)
    pair, x = SBN(DataSpec("bits", 3, "binary"), layers=(2,)), torch.ones(2, 3)
    options: dict[str, Any] = {"draws": 32, "repeats": 16, "warmup": 0, "eager": True, "progress": False}
    both = ["reinforce", "disarm"]
    summed, run = (ppgen.compare(pair, (x,), both, exact=how, **options).points[0] for how in ("enumeration", "run"))
    assert [one.reference for one in summed.objectives] == ["exact", "exact"]
    assert {one.reference for one in run.objectives} < {None, "reinforce", "disarm"}
    assert {one.draws for one in run.objectives} == {32, 320}
    with pytest.raises(UsageError, match=r"exact='quadrature' cannot be had of this pair: .* 2\*\*27 terms"):
        ppgen.compare(VAE(DataSpec("bits", 3, "binary"), 9, hidden=(2,)), (x,), ["elbo"], exact="quadrature", **options)
    with pytest.raises(UsageError, match=r"exact must be 'auto' or .*, got 'sum'"):
        ppgen.compare(pair, (x,), both, exact="sum", **options)


def test_two_gaussian_numbers_are_summed_by_quadrature_where_it_is_asked_for() -> None:
    torch.manual_seed(0)
    pair, x = VAE(DataSpec("bits", 3, "binary"), 2, hidden=(2,)), torch.ones(2, 3)
    options: dict[str, Any] = {"draws": 64, "repeats": 16, "warmup": 0, "eager": True, "progress": False}
    found = ppgen.compare(pair, (x,), ["elbo"], exact="quadrature", **options).points[0]
    assert found.objectives[0].reference == "exact"
    assert found.evidence is not None
    assert found.evidence.method == "quadrature"
