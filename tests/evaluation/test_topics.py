"""Topics matched, mapped and followed, against SciPy and what was put in."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.distance import jensenshannon

from ppgen.errors import UsageError
from ppgen.evaluation.topics import jensen_shannon, matched_topics, plane_of_topics, topic_stability, topic_trends

TOPICS = torch.rand(4, 7, generator=torch.Generator().manual_seed(0)).double().pow(3).softmax(-1)


def test_distances_are_scipys() -> None:
    expected = [[jensenshannon(p, q, base=2) for q in TOPICS.numpy()] for p in TOPICS.numpy()]
    torch.testing.assert_close(jensen_shannon(TOPICS, TOPICS), torch.tensor(expected), atol=1e-7, rtol=1e-6)


def test_another_order_of_topics_is_undone() -> None:
    order = torch.tensor([2, 0, 3, 1])
    found, distance = matched_topics(TOPICS, TOPICS[order])
    assert torch.equal(order[found], torch.arange(4))
    assert float(distance.max()) < 1e-7


def test_matching_is_one_to_one_where_the_nearest_is_not() -> None:
    """Both topics are nearest to the first of the others; the sum is least where one takes the second."""
    first = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0]])
    second = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.5, 0.5]])
    assert matched_topics(first, second)[0].tolist() == [0, 1]


def test_stability_is_one_of_the_same_and_falls_with_a_topic_that_is_not_found_again() -> None:
    other = TOPICS.clone()
    other[3] = torch.eye(7, dtype=torch.float64)[0]
    found = topic_stability([TOPICS, TOPICS.flip(0), other[[3, 1, 0, 2]]])
    assert float((found[:3] - 1).abs().max()) < 1e-7
    assert float(found[3]) == pytest.approx(1 - float(jensen_shannon(TOPICS[3:], other[3:])) / 2)


def test_three_topics_lie_in_the_plane_as_far_apart_as_they_are() -> None:
    """Three points of a Euclidean space are in a plane, so that no distance is lost."""
    places = plane_of_topics(TOPICS[:3])
    torch.testing.assert_close(torch.cdist(places, places), jensen_shannon(TOPICS[:3], TOPICS[:3]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("num", [1, 2])
def test_few_topics_have_places_too(num: int) -> None:
    places = plane_of_topics(TOPICS[:num])
    assert places.shape == (num, 2)
    assert bool((places[:, 1].abs() < 1e-7).all())


def test_trends_weigh_documents_by_their_words() -> None:
    shares = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    times, found = topic_trends(shares, torch.tensor([3, 1, 7]), torch.tensor([1990, 1990, 1980]))
    assert times.tolist() == [1980, 1990]
    assert found.tolist() == [[0.5, 0.5], [0.75, 0.25]]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="topics are over 7 words and over 6: compare those of one vocabulary"):
        jensen_shannon(TOPICS, torch.full((1, 6), 1 / 6))
    with pytest.raises(UsageError, match="4 topics cannot each have one of 2: give the fewer first"):
        matched_topics(TOPICS, TOPICS[:2])
    with pytest.raises(UsageError, match="expected the topics of at least 2 runs, got 1"):
        topic_stability([TOPICS])
    with pytest.raises(UsageError, match="got 4, 3 and 4"):
        topic_trends(TOPICS, torch.ones(3), torch.ones(4))
