"""Coherence and diversity of topics: against hand computation, and what they may be asked of."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ppgen import UsageError
from ppgen.evaluation.coherence import coherence, diversity, npmi, published_coherence, top_words

# Five documents over four words. Word 0 is in documents 0, 1, 2; 1 in 0, 1; 2 in 3, 4; 3 in 0, 3.
DOCUMENTS = torch.tensor([[2, 1, 0, 1], [1, 3, 0, 0], [4, 0, 0, 0], [0, 0, 1, 1], [0, 0, 2, 0]], dtype=torch.float64)
SHARE = (3 / 5, 2 / 5, 2 / 5, 2 / 5)


def _by_hand(i: int, j: int, both: int) -> float:
    return math.log(both / 5 / (SHARE[i] * SHARE[j])) / -math.log(both / 5)


def _distributions(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_npmi_is_that_by_hand() -> None:
    expected = torch.tensor(
        [
            [1.0, _by_hand(0, 1, 2), -1.0, _by_hand(0, 3, 1)],
            [_by_hand(0, 1, 2), 1.0, -1.0, _by_hand(1, 3, 1)],
            [-1.0, -1.0, 1.0, _by_hand(2, 3, 1)],
            [_by_hand(0, 3, 1), _by_hand(1, 3, 1), _by_hand(2, 3, 1), 1.0],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(npmi(DOCUMENTS), expected, rtol=1e-14, atol=1e-14)


def test_npmi_is_one_together_zero_independent_and_minus_one_apart() -> None:
    together, apart, other = [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]
    table = npmi(torch.tensor([together, together, apart, other]).T)
    assert table[0, 1] == pytest.approx(1, abs=1e-14)  # a quotient of logarithms: each off by float64 roundings
    assert table[0, 2] == -1
    assert table[0, 3] == pytest.approx(0, abs=1e-14)


def test_npmi_reads_presence_and_not_counts() -> None:
    assert torch.equal(npmi(DOCUMENTS), npmi(DOCUMENTS * torch.tensor([7, 1, 3, 2])))


def test_words_in_every_document_go_together() -> None:
    assert torch.equal(npmi(torch.ones(3, 2)), torch.ones(2, 2, dtype=torch.float64))


def test_a_word_that_occurs_nowhere_meets_none() -> None:
    table = npmi(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert table.tolist() == [[1, -1], [-1, -1]]


def test_npmi_of_words_that_meet_is_gensims() -> None:
    """Gensim's formula, which adds 1e-12 to p_ij: relative differences are of the order of 1e-12 / p_ij."""
    for i, j, both in ((0, 1, 2), (0, 3, 1), (2, 3, 1)):
        joint = both / 5 + 1e-12
        theirs = math.log(joint / (SHARE[i] * SHARE[j])) / -math.log(joint)
        assert float(npmi(DOCUMENTS)[i, j]) == pytest.approx(theirs, rel=1e-10, abs=1e-10)


def test_words_that_never_meet_count_what_is_asked_for() -> None:
    topics = _distributions([0.5, 0.0, 0.5, 0.0])
    assert coherence(topics, DOCUMENTS, 2).tolist() == [-1]
    assert coherence(topics, DOCUMENTS, 2, never=0.0).tolist() == [0]


def test_coherence_is_the_mean_over_pairs_of_top_words() -> None:
    topics = _distributions([0.4, 0.3, 0.1, 0.2], [0.0, 0.1, 0.6, 0.3])
    first = (_by_hand(0, 1, 2) + _by_hand(0, 3, 1) + _by_hand(1, 3, 1)) / 3
    second = (_by_hand(2, 3, 1) - 1 + _by_hand(1, 3, 1)) / 3
    assert coherence(topics, DOCUMENTS, 3).tolist() == pytest.approx([first, second], rel=1e-14)


def test_the_published_coherence_is_the_mean_of_five_words_and_ten() -> None:
    documents = torch.randint(0, 3, (40, 12), generator=torch.Generator().manual_seed(1))
    topics = torch.rand(3, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64).softmax(1)
    both = coherence(topics, documents, 5) + coherence(topics, documents, 10)
    assert torch.allclose(published_coherence(topics, documents), both / 2, rtol=1e-14)


def test_coherence_does_not_depend_on_the_order_of_the_vocabulary() -> None:
    topics = _distributions([0.4, 0.3, 0.1, 0.2])
    order = torch.tensor([2, 0, 3, 1])
    same = coherence(topics[:, order], DOCUMENTS[:, order], 3)
    assert torch.allclose(same, coherence(topics, DOCUMENTS, 3), rtol=1e-14)


def test_top_words_come_in_order_and_the_earlier_of_equals_first() -> None:
    assert top_words(_distributions([0.2, 0.3, 0.3, 0.2]), 3).tolist() == [[1, 2, 0]]


def test_diversity_counts_distinct_words() -> None:
    topics = _distributions([0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4])
    assert diversity(topics, 2) == 1
    assert diversity(topics, 3) == 4 / 6
    assert diversity(topics[[0, 0]], 2) == 0.5


@pytest.mark.parametrize(
    ("topics", "documents", "num", "said"),
    [
        (_distributions([0.5, 0.4, 0.0, 0.0]), DOCUMENTS, 2, "row 0 to sum to one"),
        (_distributions([0.5, 0.5, 0.0, 0.0], [1.5, -0.5, 0.0, 0.0]), DOCUMENTS, 2, "row 1 to sum to one without neg"),
        (torch.ones(4) / 4, DOCUMENTS, 2, r"shape \(topics, words\), got \(4,\)"),
        (_distributions([0.5, 0.5, 0.0]), DOCUMENTS, 2, r"topics' 3 words.*got \(5, 4\)"),
        (_distributions([0.5, 0.5, 0.0, 0.0]), DOCUMENTS[:0], 2, "at least one"),
        (_distributions([0.5, 0.5, 0.0, 0.0]), DOCUMENTS, 1, "at least 2 words of a topic, got 1"),
        (_distributions([0.5, 0.5, 0.0, 0.0]), DOCUMENTS, 5, "between 1 and 4 words"),
        (_distributions([math.nan, 0.5, 0.0, 0.5]), DOCUMENTS, 2, "row 0 to sum to one"),
    ],
)
def test_what_is_no_topic_or_no_reference_is_refused(topics: Tensor, documents: Tensor, num: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        coherence(topics, documents, num)
