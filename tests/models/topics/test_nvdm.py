"""The neural variational document model against quadrature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.models import NVDM
from ppgen.pairs.tracing import Program, run_particles

X = torch.tensor([[2.0, 1.0, 0.0, 1.0], [0.0, 1.0, 2.0, 0.0], [3.0, 0.0, 0.0, 2.0]], dtype=torch.float64)


@torch.no_grad()
def test_weights_average_to_the_likelihood() -> None:
    """One latent number: Gauss-Hermite quadrature, within 4.5 standard errors (false alarms: 1 in 150,000)."""
    pair = NVDM(DataSpec("words", 4, "counts"), 1, hidden=(5,)).double()
    pair.weight.normal_()
    pair.background.normal_()
    points, weights = (torch.as_tensor(part) for part in np.polynomial.hermite_e.hermegauss(80))
    words = pair.log_probs(points[:, None])  # (P, V)
    torch.testing.assert_close(words.exp(), torch.softmax(pair.background + points.outer(pair.weight[0]), -1))
    orders = (X.sum(-1) + 1).lgamma() - (X + 1).lgamma().sum(-1)
    evidence = (X @ words.T + (weights / weights.sum()).log()).logsumexp(-1) + orders
    ratio = (run_particles(Program(pair.model, pair.guide), (X,), 100_000).log_w - evidence).exp()
    assert ((ratio.mean(0) - 1).abs() < 4.5 * ratio.std(0) / len(ratio) ** 0.5).all()


def test_at_the_origin_words_have_the_frequencies_of_the_data() -> None:
    mean = torch.tensor([3.0, 2.0, 4.0, 1.0])
    pair = NVDM(DataSpec("words", 4, "counts", mean=mean), 2)
    torch.testing.assert_close(pair.log_probs(torch.zeros(2)).exp(), mean / 10)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"latent_dim": 0}, "latent_dim must be a whole number of at least 1, got 0."),
        ({"activation": "sine"}, "the name of an activation, got 'sine'"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        NVDM(DataSpec("words", 4, "counts"), **options)
    assert sentence in str(error.value)


def test_data_that_are_no_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="NVDM needs counts of words, but data 'pixels' are binary"):
        NVDM(DataSpec("pixels", 5, "binary"))
