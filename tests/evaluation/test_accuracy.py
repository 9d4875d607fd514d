"""Accuracy: by hand, of labels that are known, and of pairs that classify alone."""

from __future__ import annotations

import math

import pytest
import torch

import ppgen
from ppgen.errors import UsageError
from ppgen.evaluation.accuracy import accuracies, hits
from ppgen.evaluation.case import Case
from ppgen.models import CVAE, SSVAE


def test_hits_are_the_data_whose_most_probable_class_is_their_label() -> None:
    x = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.5, 0.1], [0.9, 0.1, 0.0]])
    assert hits(lambda x: x, x, torch.tensor([0, 1, -1, 0])).tolist() == [1, 0, 1]


def test_more_data_than_are_classified_at_a_time_are_all_judged() -> None:
    y = torch.arange(2500) % 3
    found = hits(lambda x: x, torch.eye(3)[y.where(torch.arange(2500) != 2300, (y + 1) % 3)], y)
    assert (len(found), int((found == 0).nonzero())) == (2500, 2300)


def test_data_without_a_label_have_no_accuracy() -> None:
    with pytest.raises(UsageError, match="accuracy needs labels, and none of the data has one"):
        hits(lambda x: x, torch.eye(2), torch.tensor([-1, -1]))


def case(pair: ppgen.Pair, data: ppgen.data.Dataset, split: str) -> Case:
    return Case(pair, data, split, data.rows(split), 1, 0, progress=False)


def test_the_accuracy_of_a_pair_is_its_classifiers_in_evaluation() -> None:
    data = ppgen.load_data("digits", labels=True, num_labelled=100)
    pair = SSVAE(data.spec, 2, hidden=(4,), classifier=(30,), dropout=0.5)
    (found,) = accuracies(case(pair, data, "test"))
    x, y = data.test
    rate = (pair.eval().classify(x).argmax(-1) == y).double().mean().item()
    assert found.name == "accuracy"
    assert found.value == pytest.approx(rate)
    assert found.standard_error == pytest.approx(math.sqrt(rate * (1 - rate) / (len(y) - 1)))
    (trained,) = accuracies(case(pair, data, "train"))
    assert trained.meaning.startswith("share of 100 train data")


def test_pairs_that_do_not_classify_have_none() -> None:
    data = ppgen.load_data("digits", labels=True)
    assert list(accuracies(case(CVAE(data.spec, 2, hidden=(4,)), data, "test"))) == []
