"""Texts as sequences of words: the words of the counts, in their order; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import one_hot

import ppgen
from ppgen.data import Dataset, DataSpec, dataset_from
from ppgen.data.texts import texts
from ppgen.distributions.symbols import lengths, present
from ppgen.errors import UsageError
from ppgen.pages.look import look_of

ROSES = ["a rose is a rose", "roses are red and red", "a red rose", "violets are blue"]
WHOLE: dict[str, Any] = {"valid": 0.0, "test": 0.0}


def counted(x: torch.Tensor, num_words: int) -> torch.Tensor:
    """Counts (N, V) of sequences (N, T)."""
    return (one_hot(x.long().clamp_min(0), num_words) * present(x)[..., None]).sum(1).to(x)


def read(data: Dataset, split: str = "train") -> list[str]:
    names = data.spec.vocabulary or ()
    return [" ".join(names[i] for i in row[present(row)].long().tolist()) for row in data.split(split)[0]]


def test_words_of_the_vocabulary_stay_in_their_order() -> None:
    data = texts(file={"train": ROSES, "test": ["red tulips are the red roses are red red"]}, sequences=True, valid=0.0)
    assert read(data) == ["rose is rose", "roses are red and red", "red rose", "violets are blue"]
    assert read(data, "test") == ["red are red roses are red red"]
    assert data.train[0].shape == (4, 7)
    assert lengths(data.train[0]).tolist() == [3, 5, 2, 3]
    assert data.spec.observation == "symbols"
    assert data.spec.num_features == 8
    assert data.spec.length == 3


@pytest.mark.parametrize("options", [{}, {"min_df": 2, "drop_empty": True}])
def test_they_are_the_words_that_are_counted(options: dict[str, Any]) -> None:
    counts, ordered = (texts(file=ROSES, sequences=order, **options, **WHOLE) for order in (False, True))
    assert ordered.spec.vocabulary == counts.spec.vocabulary
    torch.testing.assert_close(counted(ordered.train[0], counts.spec.num_features), counts.train[0][:])
    assert ordered.spec.mean is not None
    torch.testing.assert_close(ordered.spec.mean, counts.train[0].mean(0))


@pytest.mark.thorough
def test_those_of_pydoc_are_too() -> None:
    counts, ordered = (ppgen.load_data("pydoc", sequences=order) for order in (False, True))
    for split in ("train", "test"):
        assert torch.equal(counted(ordered.split(split)[0], counts.spec.num_features), counts.split(split)[0][:])


def test_a_list_of_strings_is_ordered_where_it_is_asked_for() -> None:
    found = dataset_from(ROSES, **WHOLE, observation="symbols")
    assert torch.equal(found.train[0], texts(file=ROSES, sequences=True, **WHOLE).train[0])


def test_an_array_of_symbols_has_as_many_as_the_largest_or_those_that_are_named() -> None:
    x = torch.tensor([[2.0, 0.0, 2.0], [1.0, -1.0, -1.0]])
    found = dataset_from(x, **WHOLE, observation="symbols").spec
    assert (found.num_features, found.length, found.vocabulary) == (3, 2, None)
    assert found.mean is not None
    assert found.mean.tolist() == [0.5, 0.5, 1.0]
    assert dataset_from(x, **WHOLE, observation="symbols", vocabulary=["a", "b", "c", "d"]).spec.num_features == 4


def test_a_text_is_read_on_the_page() -> None:
    data = texts(file=ROSES, sequences=True, **WHOLE)
    figure = look_of(data).samples(data.train[0][:2], "texts", "alt", "caption")
    assert "roses are red and red" in figure.body
    long = dataset_from(torch.zeros(1, 40), **WHOLE, observation="symbols")
    assert "0 0 ..." in look_of(long).each({"it": long.train[0][0]}, "alt", "caption").body


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([0.0, 3.0], r"must hold symbols 0\.\.2, and -1 after the last, got 3 in row 1, column 1: number symbols by"),
        ([0.0, -2.0], "got -2 in row 1, column 1"),
        ([0.5, 1.0], r"got 0\.5 in row 1, column 0"),
        ([-1.0, -1.0], r"must hold documents of at least one word, and 1 of 2 are empty \(row 1\)"),
        (
            [-1.0, 1.0],
            "must hold nothing but -1 after a sequence's end, got 1 in row 1, column 1: put what",
        ),
        ([float("nan"), 1.0], "must hold finite numbers, got nan in row 1, column 0"),
    ],
)
def test_what_is_no_sequence_is_refused(row: list[float], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        dataset_from(torch.tensor([[0.0, 1.0], row]), **WHOLE, observation="symbols", vocabulary=["a", "b", "c"])


def test_a_text_without_a_word_is_refused_by_its_place() -> None:
    with pytest.raises(UsageError, match="text 1 of train has no word of the vocabulary: take it away"):
        texts(file=["a rose", "!"], sequences=True, **WHOLE)


@pytest.mark.parametrize("name", ["vae", "rbm", "nmf", "gmm", "classifier"])
def test_pairs_on_vectors_refuse_sequences(name: str) -> None:
    spec = DataSpec("texts", 5, "symbols", num_data=90, num_classes=2 if name == "classifier" else None)
    with pytest.raises(UsageError, match=r"data 'texts' are (sequences of symbols|of the kind symbols|symbols)"):
        ppgen.make_pair(name, spec)
