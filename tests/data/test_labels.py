"""Labels of a few training data: which keep theirs, and what the description says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppgen.data import Dataset, DataSpec, load_data
from ppgen.data.labels import labelled_rows
from ppgen.errors import UsageError
from ppgen.models import CVAE


def test_few_labels_are_of_every_class_alike_and_the_others_unknown() -> None:
    every = load_data("digits", labels=True)
    data = load_data("digits", labels=True, num_labelled=50)
    known = data.train[1] >= 0
    assert torch.equal(data.train[0], every.train[0])
    assert torch.equal(data.train[1][known], every.train[1][known])
    assert set(data.train[1][~known].tolist()) == {-1}
    assert torch.bincount(data.train[1][known]).tolist() == [5] * 10
    assert (data.spec.num_labelled, data.spec.num_data) == (50, 1297)
    for split in ("valid", "test"):
        assert torch.equal(data.split(split)[1], every.split(split)[1])


def test_the_choice_is_that_of_the_seed_and_a_larger_one_holds_a_smaller() -> None:
    y = np.arange(200) % 7
    first, again, other = (labelled_rows(y, 21, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert set(first) < set(labelled_rows(y, 63, 0))


def test_a_number_that_the_classes_do_not_divide_is_as_even_as_can_be() -> None:
    y = np.array([0] * 50 + [1] * 50 + [2] * 2)
    assert np.bincount(y[labelled_rows(y, 5, 0)]).tolist() == [2, 2, 1]
    assert np.bincount(y[labelled_rows(y, 20, 0)]).tolist() == [9, 9, 2]  # the third class has no more


def test_copies_of_labelled_rows_stand_after_the_data() -> None:
    once = load_data("digits", labels=True, num_labelled=20)
    data = load_data("digits", labels=True, num_labelled=20, label_copies=4)
    known = once.train[1] >= 0
    for part, single in zip(data.train, once.train, strict=True):
        assert torch.equal(part[:1297], single)
        assert torch.equal(part[1297:], single[known].repeat(3, *(1,) * (single.dim() - 1)))
    assert (data.spec.num_labelled, data.spec.num_data) == (80, 1297 + 60)


def test_all_labels_are_no_few_labels() -> None:
    assert load_data("digits", labels=True).spec.num_labelled is None
    assert load_data("digits", labels=True, num_labelled=1297).spec.num_labelled is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_labelled": 10}, "num_labelled=10 chooses labels that are kept: ask for them, labels=True"),
        ({"labels": True, "num_labelled": 0}, "num_labelled must be a whole number of at least 1, got 0"),
        ({"labels": True, "num_labelled": 1298}, "num_labelled must be a whole number of at most 1297, got 1298"),
        (
            {"labels": True, "num_labelled": 10, "label_seed": -1},
            "label_seed must be a whole number of at least 0",
        ),
        (
            {"labels": True, "num_labelled": 10, "label_copies": 0},
            "label_copies must be a whole number of at least 1",
        ),
    ],
    ids=str,
)
def test_numbers_of_labels_that_cannot_be_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load_data("digits", **options)


def test_unknown_labels_are_for_data_that_say_so() -> None:
    x, y = torch.zeros(3, 2), torch.tensor([0, -1, 1])
    some = DataSpec("few", 2, "binary", num_classes=2, num_labelled=2)
    every = DataSpec("few", 2, "binary", num_classes=2)
    assert Dataset(some, train=(x, y), valid=(x, y), test=(x, y.abs())).spec.num_labelled == 2
    with pytest.raises(UsageError, match=r"train of data 'few' must hold labels 0..1, got -1 in row 1"):
        Dataset(every, train=(x, y), valid=(x, y.abs()), test=(x, y.abs()))


def test_a_number_of_labels_without_classes_is_refused() -> None:
    with pytest.raises(UsageError, match="data 'x' has num_labelled=3 and no num_classes"):
        DataSpec("x", 2, "binary", num_labelled=3)


def test_a_model_that_needs_every_label_refuses_few() -> None:
    with pytest.raises(UsageError, match="CVAE needs every label, and 50 of data 'digits' have one"):
        CVAE(load_data("digits", labels=True, num_labelled=50).spec)
