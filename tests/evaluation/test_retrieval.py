"""Retrieval: precision against recall by hand, by scikit-learn, and with data that are equally like."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ppgen.errors import UsageError
from ppgen.evaluation.features import LabelledFeatures
from ppgen.evaluation.retrieval import RECALL, likeness, retrievals, retrieve


def test_precision_at_a_recall_is_that_where_it_is_first_reached() -> None:
    database = torch.tensor([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4]])
    labels = torch.tensor([0, 1, 0, 0])
    found = retrieve(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), database, labels, recall=[0.1, 0.5, 2 / 3, 1])
    assert found.precision[0].tolist() == pytest.approx([1, 2 / 3, 2 / 3, 3 / 4])
    assert float(found.average_precision) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert float(found.at_random) == 0.75


@settings(derandomize=True, max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 30))
def test_average_precision_is_scikit_learns_with_ties_too(seed: int, bits: int, num: int) -> None:
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(2, (num + 1, bits), generator=generator).double()
    labels = torch.randint(2, (num,), generator=generator)
    labels[0] = 1
    found = retrieve(codes[:1], torch.tensor([1]), codes[1:], labels)
    scores = likeness(codes[:1], codes[1:])[0]
    assert float(found.average_precision) == pytest.approx(average_precision_score(labels.numpy(), scores.numpy()))
    order = torch.randperm(num, generator=generator)
    again = retrieve(codes[:1], torch.tensor([1]), codes[1:][order], labels[order])
    assert torch.equal(found.precision, again.precision)


def test_data_all_alike_have_the_share_of_their_class_everywhere() -> None:
    labels = torch.tensor([0, 1, 1, 2, 1])
    found = retrieve(torch.ones(2, 3), torch.tensor([1, 2]), torch.ones(5, 3), labels)
    assert torch.allclose(found.precision, found.at_random[:, None].expand(2, len(RECALL)))
    assert found.average_precision.tolist() == pytest.approx([0.6, 0.2])


def test_queries_in_chunks_are_all_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.randn(20, 4), torch.arange(20) % 4
    whole = retrieve(x[:7], y[:7], x[7:], y[7:])
    monkeypatch.setattr("ppgen.evaluation.retrieval._AT_ONCE", 3)
    assert torch.allclose(retrieve(x[:7], y[:7], x[7:], y[7:]).precision, whole.precision)


def test_a_query_of_a_class_that_the_database_lacks_is_left_out() -> None:
    x = torch.randn(4, 2)
    assert len(retrieve(x[:2], torch.tensor([0, 9]), x[2:], torch.tensor([0, 1])).average_precision) == 1
    with pytest.raises(UsageError, match="no datum of any query's class"):
        retrieve(x[:1], torch.tensor([9]), x[2:], torch.tensor([0, 1]))


def test_a_recall_that_is_no_share_is_refused() -> None:
    with pytest.raises(UsageError, match="expected numbers above 0 and up to 1, got"):
        retrieve(torch.ones(1, 2), torch.tensor([0]), torch.ones(1, 2), torch.tensor([0]), recall=[0.0, 1])


def test_the_measures_are_means_over_queries_with_the_curve_of_them() -> None:
    x, y = torch.randn(30, 3, dtype=torch.float64), torch.arange(30) % 3
    features = LabelledFeatures(x, y, x[:9], y[:9])
    mean, tenth = retrievals(features, "test")
    found = retrieve(x[:9], y[:9], x, y)
    assert mean.value == pytest.approx(float(found.average_precision.mean()))
    assert mean.along is not None
    assert mean.along.value == pytest.approx(found.precision.mean(0).tolist())
    assert (tenth.value, tenth.standard_error) == (mean.along.value[3], mean.along.standard_error[3])


def test_codes_are_the_signs_of_features_and_ranked_by_how_many_agree() -> None:
    soft, y = torch.tensor([[0.9, -2.0], [0.1, -0.1], [-0.5, 0.7]], dtype=torch.float64), torch.tensor([0, 0, 1])
    mean, _ = retrievals(LabelledFeatures(soft, y, soft, y, codes=True), "test")
    assert mean.value == 1
    assert "2 bits, by how many agree" in mean.meaning
