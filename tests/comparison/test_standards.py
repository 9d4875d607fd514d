"""What bias is measured from, where it is asked for: a sum over states, a quadrature, a long run."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

import ppgen
from ppgen import DataSpec, UsageError
from ppgen.inference import ELBO
from ppgen.models import SBN, VAE
from ppgen.objectives.discrete.enumeration import Enumeration
from ppgen.pairs.tracing import Program


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


def test_what_would_take_longer_than_its_seconds_is_refused_by_a_first_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ppgen.objectives.discrete.enumeration._CELLS", 12)  # many parts
    pair, x = SBN(DataSpec("bits", 3, "binary"), layers=(10,)), torch.ones(2, 3)
    options: dict[str, Any] = {"draws": 32, "repeats": 16, "warmup": 0, "eager": True, "progress": False}
    names = ["reinforce", "disarm"]
    sentence = (
        r"exact='enumeration' cannot be had of this pair: the exact gradient would take about \d[^ ]* seconds for 2 "
    )
    for at in ("init", "trained"):
        with pytest.raises(UsageError, match=sentence + r"data, .* seconds=0.05 is all it may take: .* exact='run'\.$"):
            ppgen.compare(pair, (x,), names, exact="enumeration", seconds=0.05, at=[at], data=(x,), **options)
    found = ppgen.compare(pair, (x,), names, seconds=0.05, **options).points[0]
    assert "would take about" in found.why_not_exact
    assert {one.reference for one in found.objectives} < {None, "reinforce", "disarm"}
    with pytest.raises(UsageError, match=r"exact='run' would take about .*, 320 draws of .* seconds=1e-05 is all"):
        ppgen.compare(pair, (x,), names, exact="run", seconds=1e-5, **options)
    vae, few = VAE(DataSpec("bits", 3, "binary"), 2, hidden=(2,)), {**options, "seconds": 1e-3}
    with pytest.raises(UsageError, match=r"exact='quadrature' cannot .* would take about .* seconds=0.001 is all"):
        ppgen.compare(vae, (x,), ["elbo"], exact="quadrature", **few)


def test_the_time_of_a_gradient_is_foreseen_within_a_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten, on a machine whose cores others take too."""
    monkeypatch.setattr("ppgen.objectives.discrete.enumeration._CELLS", 200)
    pair, x = SBN(DataSpec("bits", 3, "binary"), layers=(8,)), torch.ones(4, 3)
    every = Enumeration.of(Program(pair.model, pair.guide), (x,), "this test")
    foreseen = every.duration(ELBO(), list(pair.parameters()))
    start = time.perf_counter()
    every.gradient(ELBO(), list(pair.parameters()))
    assert 0.1 < foreseen / (time.perf_counter() - start) < 10
