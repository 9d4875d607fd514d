"""The linear probe: what is linearly at hand is found, on data that it was not fit on."""

from __future__ import annotations

import pytest
import torch

from ppgen.evaluation import probe
from ppgen.evaluation.features import LabelledFeatures
from ppgen.evaluation.probe import linear_probe, probes


def features(train: torch.Tensor, labels: torch.Tensor) -> LabelledFeatures:
    return LabelledFeatures(train, labels, train, labels)


def test_classes_apart_on_a_line_are_found_whatever_the_features_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 2
    x = torch.stack([y + 0.1 * torch.randn(60, generator=generator), torch.randn(60, generator=generator)], 1)
    x = (x * torch.tensor([1e-4, 1e4])).double()
    assert linear_probe(x[:30], y[:30], x[30:], y[30:]).wrong.sum() == 0


def test_noise_is_right_as_often_as_chance() -> None:
    """Of 400 data the share wrong is 0.5 with a standard deviation of 0.025: beyond four with probability 6e-5."""
    x = torch.randn(600, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.arange(600) % 2
    assert linear_probe(x[:200], y[:200], x[200:], y[200:]).wrong.mean() == pytest.approx(0.5, abs=0.1)


def test_the_measure_is_the_share_of_wrong_classes_with_its_error() -> None:
    x, y = torch.tensor([[0.0], [0.1], [0.9], [1.0]], dtype=torch.float64), torch.tensor([0, 0, 1, 1])
    (found,) = probes(LabelledFeatures(x, y, x, torch.tensor([0, 0, 0, 1])), "test")
    assert (found.name, found.value, found.standard_error) == ("probe_error", 0.25, 0.25)


def test_steps_that_do_not_suffice_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STEPS", 1)
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (found,) = probes(features(x, (x.sum(1) > 0).long()), "test")
    assert "stopped after 1 steps" in found.meaning


def test_there_is_none_of_one_class_or_one_datum() -> None:
    x = torch.zeros(3, 2, dtype=torch.float64)
    assert not list(probes(features(x, torch.zeros(3, dtype=torch.int64)), "test"))
    one = LabelledFeatures(x, torch.tensor([0, 1, 1]), x[:1], torch.tensor([0]))
    assert not list(probes(one, "test"))
