"""PLSA: EM by its statistics, against sums over words, and what it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import ELBO
from ppgen.models import PLSA
from ppgen.pairs.maximising import Maximising

X = torch.tensor([[2.0, 1, 0, 0, 3], [0, 1, 2, 1, 0], [3, 0, 0, 2, 1], [0, 4, 1, 0, 0]], dtype=torch.float64)


def small_pair(**options: Any) -> PLSA:
    torch.manual_seed(0)
    return PLSA(DataSpec("words", 5, "counts", num_data=4), 2, **options).double()


@torch.no_grad()
def em_step(pair: PLSA, x: Tensor, *, hard: bool = False) -> float:
    for name, value in pair.maximised(pair.expected_statistics(x, hard=hard)).items():
        pair.get_parameter(name).copy_(value)
    return float(pair.log_evidence(x).sum())


def test_em_never_lowers_the_likelihood() -> None:
    pair = small_pair()
    values = [float(pair.log_evidence(X).sum().detach())] + [em_step(pair, X) for _ in range(100)]
    assert all(after >= before - 1e-10 for before, after in itertools.pairwise(values))
    assert values[-1] > values[0] + 1


def test_the_end_of_em_is_a_stationary_point() -> None:
    pair = small_pair()
    for _ in range(1_000):
        em_step(pair, X)
    gradients = torch.autograd.grad(pair.log_evidence(X).sum(), list(pair.parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-3


def test_the_statistics_are_those_of_the_words_topics() -> None:
    pair = small_pair()
    joint = pair.shares[:, :, None] * pair.topics  # (N, T, V)
    given = X[:, None] * joint / joint.sum(1, keepdim=True)
    found = pair.expected_statistics(X)
    assert isinstance(pair, Maximising)
    torch.testing.assert_close(found["shares"], given.sum(2))
    torch.testing.assert_close(found["topics"], given.sum(0))
    hard = pair.expected_statistics(X, hard=True)
    best = torch.nn.functional.one_hot(joint.argmax(1), 2).transpose(1, 2) * X[:, None]
    torch.testing.assert_close(hard["shares"], best.sum(2))
    torch.testing.assert_close(hard["topics"], best.sum(0))


def test_the_bound_is_the_evidence() -> None:
    pair = small_pair()
    assert ELBO().loss(pair.model, pair.guide, X) == pytest.approx(-float(pair.log_evidence(X).sum().detach()))


def test_folding_in_finds_the_likeliest_shares() -> None:
    """No point of a fine grid of two shares is better."""
    pair = small_pair(iterations=3_000).eval()
    grid = torch.linspace(0, 1, 2_001, dtype=torch.float64)
    probs = grid[:, None] * pair.topics[0] + (1 - grid[:, None]) * pair.topics[1]  # (grid, V)
    best = (X @ probs.log().T).max(1).values
    found = (X * (pair.shares_of(X) @ pair.topics).log()).sum(1)
    assert bool((found >= best - 1e-9).all())


def test_a_topic_without_words_is_refused() -> None:
    pair = small_pair()
    statistics = {"shares": torch.ones(4, 2), "topics": torch.stack([torch.ones(5), torch.zeros(5)])}
    with pytest.raises(UsageError, match="topic 1 of PLSA is left without a word: lower num_topics"):
        pair.maximised(statistics)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (DataSpec("pixels", 5, "binary", num_data=9), "PLSA needs counts of words, but data 'pixels' are binary"),
        (DataSpec("words", 5, "counts"), "PLSA has parameters of each document, and data 'words' do not say how many"),
        (DataSpec("words", 5, "counts", num_data=3), "num_topics = 4 of PLSA, and there are 3 documents: lower it"),
    ],
)
def test_data_that_do_not_fit_are_refused(spec: DataSpec, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        PLSA(spec, 4)


def test_a_part_of_the_documents_is_refused() -> None:
    data = ppgen.load_data("bars", num_data=30)
    with pytest.raises(UsageError, match="trained on all of them at once, got a batch of 10: train with batch_size=30"):
        ppgen.fit(PLSA(data.spec, 3), data, ELBO(), steps=1, batch_size=10, progress=False)
