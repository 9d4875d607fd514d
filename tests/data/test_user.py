"""Data sets of one's own tensors and arrays."""

from typing import Any

import numpy as np
import pytest
import torch

from ppgen.data import SPLITS, dataset_from
from ppgen.errors import UsageError


def test_dataset_from_splits_train_into_disjoint_seeded_parts() -> None:
    x = torch.arange(40.0).reshape(20, 2)
    data = dataset_from(x, held_out=0.2)
    rows = torch.cat([data.split(name)[0] for name in SPLITS])
    assert [len(data.split(name)[0]) for name in SPLITS] == [12, 4, 4]
    assert torch.equal(rows[rows[:, 0].argsort()], x)
    assert dataset_from(x, held_out=0.2).sha256 == data.sha256
    assert dataset_from(x, held_out=0.2, seed=1).sha256 != data.sha256


def test_dataset_from_keeps_given_splits_whole() -> None:
    x, held = torch.randn(10, 2), torch.randn(3, 2)
    data = dataset_from(x, valid=held, test=held)
    assert torch.equal(data.train[0], x)
    assert torch.equal(data.valid[0], held)
    partly = dataset_from(x, test=held)
    assert (len(partly.train[0]), len(partly.valid[0]), len(partly.test[0])) == (9, 1, 3)


def test_dataset_from_keeps_labels_beside_their_rows() -> None:
    y = np.arange(20) % 3
    data = dataset_from((y[:, None] * 1.0, y), num_classes=3)
    for name in SPLITS:
        x, labels = data.split(name)
        assert torch.equal(x[:, 0].long(), labels)


@pytest.mark.parametrize(
    ("x", "options", "observation"),
    [
        (np.eye(20), {}, "binary"),
        (np.eye(20, dtype=bool), {}, "binary"),
        (np.eye(20) * 2, {}, "real"),
        (np.eye(20) / 2, {"dynamic": True}, "binary"),
        (np.eye(20) / 3, {"levels": 4}, "quantised"),
        (np.eye(20), {"observation": "real"}, "real"),
    ],
    ids=str,
)
def test_dataset_from_infers_the_observation(x: Any, options: dict[str, Any], observation: str) -> None:
    data = dataset_from(x, **options)
    assert data.spec.observation == observation
    assert data.train[0].dtype == torch.float32


def test_dataset_from_dynamic_draws_valid_and_test_once() -> None:
    p = torch.rand(50, 4)
    data = dataset_from(p, dynamic=True)
    assert data.dynamic
    assert not torch.equal(data.train[0], data.train[0].round())
    assert torch.equal(data.test[0], data.test[0].round())
    assert dataset_from(p, dynamic=True).sha256 == data.sha256


@pytest.mark.parametrize("shape", [(20, 2, 3), (20, 1, 2, 3)], ids=str)
def test_dataset_from_flattens_pictures_and_keeps_their_shape(shape: tuple[int, ...]) -> None:
    data = dataset_from(np.zeros(shape))
    assert data.spec.num_features == 6
    assert data.spec.image_shape == shape[1:]


def test_dataset_from_lays_rows_one_after_another() -> None:
    columns = np.asfortranarray(np.random.default_rng(0).normal(size=(10, 3)))
    data = dataset_from(columns, valid=columns, test=columns)
    assert data.train[0].stride() == (3, 1)
    assert np.array_equal(data.train[0], columns.astype(np.float32))


def test_dataset_from_does_not_share_memory_with_an_array() -> None:
    x = np.zeros((20, 2), dtype=np.float32)
    data = dataset_from(x, valid=x, test=x)
    x[:] = np.nan
    assert torch.equal(data.train[0], torch.zeros(20, 2))


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (torch.zeros(20), r"x in train must have rows.*got \(20,\): use x\[:, None\]"),
        (np.array(["a"]), "train must be an array of numbers"),
        ([[1.0], [1.0, 2.0]], "train must be an array of numbers, got a list that is none: .*length 1"),
        ((), "train is an empty tuple"),
        (torch.zeros(2, 3), "cannot split valid and test of 1 rows off the 2 rows of train"),
        (torch.zeros(0, 3), "cannot split"),
        ((torch.zeros(20, 3), torch.zeros(19)), r"same number of rows, got \[20, 19\]"),
        (torch.full((20, 3), float("nan")), "must hold finite numbers"),
    ],
    ids=str,
)
def test_dataset_from_refuses(train: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        dataset_from(train)


def test_dataset_from_refuses_an_empty_split_that_was_given() -> None:
    x = torch.zeros(4, 3)
    with pytest.raises(UsageError, match="valid of data 'user' is empty"):
        dataset_from(x, valid=x[:0], test=x)


@pytest.mark.parametrize("held_out", [0.0, 1.0, 0.6])
def test_dataset_from_refuses_a_share_that_leaves_nothing(held_out: float) -> None:
    with pytest.raises(UsageError, match="held_out between 0 and 1"):
        dataset_from(torch.zeros(20, 3), held_out=held_out)


def test_dataset_from_names_a_row_by_its_place_before_the_split() -> None:
    x = torch.zeros(20, 3)
    x[13, 1] = float("nan")
    with pytest.raises(UsageError, match="train of data 'user' must hold finite numbers, got nan in row 13, column 1"):
        dataset_from(x)


def test_a_vocabulary_is_words_in_their_order() -> None:
    x = np.ones((20, 3))
    words: Any = np.array(["a", "b", "c"])
    assert dataset_from(x, observation="counts", vocabulary=words).spec.vocabulary == ("a", "b", "c")
    for other in ("abc", {"a", "b", "c"}, {"c": 2, "a": 0, "b": 1}, 3):
        with pytest.raises(UsageError, match="vocabulary of data 'user' must be a list of words, word i for column i"):
            dataset_from(x, observation="counts", vocabulary=other)


def test_no_training_data_are_refused() -> None:
    with pytest.raises(UsageError, match="train must be an array of numbers, got NoneType"):
        dataset_from(None)
