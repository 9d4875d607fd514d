"""Tables of mixed columns: what is found of each column, what stands in x, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from ppgen.data import Dataset, DataSpec, dataset_from, load_data
from ppgen.data.column import Column
from ppgen.errors import UsageError

N = 12
FRAME = pandas.DataFrame(
    {
        "town": ["Rome", "Bonn", "Oslo"] * 4,
        "height": np.linspace(1.5, 1.9, N),
        "smokes": np.arange(N) % 2,
        "visits": np.arange(N) % 4 * 5,
    }
)
COLUMNS = (
    Column("town", "categorical", ("Bonn", "Oslo", "Rome")),
    Column("height", "real"),
    Column("smokes", "binary"),
    Column("visits", "real"),
)
X = torch.cat([torch.eye(3)[[2, 0, 1] * 4], torch.tensor(FRAME.iloc[:, 1:].to_numpy()).float()], 1)
ALL: dict[str, Any] = {"valid": 0.0, "test": 0.0}


def test_columns_are_found_and_stand_in_x_in_the_tables_order(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    arrays = {name: column.to_numpy() for name, column in FRAME.items()}
    for data in (dataset_from(FRAME, **ALL), dataset_from(arrays, **ALL), load_data(str(tmp_path / "t.csv"), **ALL)):
        assert torch.equal(data.train[0], X)
        assert (data.spec.observation, data.spec.columns) == ("mixed", COLUMNS)
        assert data.names == ("town=Bonn", "town=Oslo", "town=Rome", "height", "smokes", "visits")
        assert data.kinds["town"] == "categorical (Bonn, Oslo, Rome)"
        names, columns = data.as_columns(data.train[0])
        assert names == tuple(FRAME)
        assert columns[0].tolist() == FRAME["town"].tolist()


def test_a_spec_is_read_back_as_it_was_saved() -> None:
    spec = dataset_from(FRAME, **ALL).spec
    assert DataSpec.from_json(spec.to_json()) == spec
    assert spec.to_json()["columns"][0] == {
        "name": "town",
        "kind": "categorical",
        "categories": ["Bonn", "Oslo", "Rome"],
    }


def test_parts_are_of_one_kind_each_at_their_places() -> None:
    parts = dataset_from(FRAME, **ALL).spec.parts
    assert [part.observation for _, part in parts] == ["categorical", "real", "binary"]
    assert [place.runs for place, _ in parts] == [((0, 3),), ((3, 4), (5, 6)), ((4, 5),)]
    for place, part in parts:
        assert part.mean is not None
        assert torch.equal(part.mean, place.of(X.mean(0)))


def test_kinds_may_be_said() -> None:
    data = dataset_from(FRAME, kinds={"visits": "categorical", "smokes": "real"}, **ALL)
    assert data.spec.columns is not None
    assert data.spec.columns[2:] == (Column("smokes", "real"), Column("visits", "categorical", ("0", "5", "10", "15")))
    assert data.spec == dataset_from(FRAME, kinds="visits:categorical,smokes:real", **ALL).spec
    more = dataset_from(FRAME, kinds={"town": ["Rome", "Oslo", "Bonn", "Nice"]}, **ALL)
    assert more.train[0][:3, :4].argmax(-1).tolist() == [0, 2, 1]
    assert dataset_from(FRAME[["height"]], observation="mixed", **ALL).spec.columns == (Column("height", "real"),)


def test_real_columns_alone_are_standardised() -> None:
    data = dataset_from(FRAME, standardise=True, **ALL)
    x, real = data.train[0], [3, 5]
    assert torch.allclose(x[:, real].mean(0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(x[:, real].std(0, correction=0), torch.ones(2), atol=1e-5)
    assert torch.equal(x[:, [0, 1, 2, 4]], X[:, [0, 1, 2, 4]])
    assert torch.allclose(data.in_units(x), X, atol=1e-5)


def test_held_out_tables_have_the_columns_of_training_in_any_order() -> None:
    data = dataset_from(FRAME, valid=FRAME[["visits", "smokes", "height", "town"]].assign(more=1.5), test=FRAME[:2])
    assert torch.equal(data.valid[0], X)
    assert torch.equal(data.test[0], X[:2])  # where not every category is
    numbers = FRAME[["height", "visits"]]
    swapped = dataset_from(numbers, valid=numbers[["visits", "height"]], test=0.0)
    assert torch.equal(swapped.valid[0], X[:, [3, 5]])


@pytest.mark.parametrize(
    ("frame", "options", "sentence"),
    [
        (FRAME.assign(same=3), {}, "column 'same' of train holds 3 in every row, which tells nothing: leave it out"),
        (FRAME.assign(same="a"), {}, "column 'same' of train holds 'a' in every row"),
        (FRAME[["height"]].assign(same=3), {}, "column 'same' of train holds 3 in every row"),
        (
            FRAME.assign(note=list("abcdefghijkl")),
            {},
            "'note' of train holds 12 different texts in 12 rows, such as 'a'",
        ),
        (
            FRAME.assign(town=["Rome", None, "Oslo"] * 4),
            {},
            "'town' of train has a missing value in row 1, the first of 4",
        ),
        (
            FRAME.assign(height=[1.5, None] * 6),
            {},
            "column 'height' of train has a missing value in row 1, the first of 6",
        ),
        (FRAME, {"test": FRAME.assign(town="Nice")}, "'town' of test is 'Nice' in row 0, a category that the training"),
        (FRAME, {"test": FRAME.assign(smokes=2)}, "'smokes' of test is binary and must hold 0 or 1, got 2 in row 0"),
        (FRAME, {"test": FRAME[["town", "height"]]}, "test has no column 'smokes'"),
        (FRAME, {"kinds": {"tow": "real"}}, "train has no column 'tow': did you mean 'town'"),
        (FRAME, {"kinds": {"town": "text"}}, "column 'town' cannot be 'text': Known names: binary, categorical, real"),
        (FRAME, {"kinds": {"town": "real"}}, "column 'town' of train must hold numbers, and holds 'Rome'"),
        (FRAME, {"kinds": 3}, "kinds must say kinds of columns by their names, got 3"),
        (FRAME, {"dynamic": True, "observation": "mixed"}, "is mixed and dynamic"),
    ],
    ids=lambda value: "",
)
def test_what_is_wrong_is_one_sentence(frame: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        dataset_from(frame, **{**ALL, **options})


def test_what_has_no_columns_is_not_mixed() -> None:
    with pytest.raises(UsageError, match="train has no columns with names, of which kinds could be said"):
        dataset_from(X, observation="mixed")
    with pytest.raises(UsageError, match="no columns of one number or text a row"):
        dataset_from({"x": X, "y": X}, observation="mixed")


def test_bits_that_never_change_may_stay() -> None:
    assert dataset_from({"a": [0, 1, 1], "b": [1, 1, 1]}, **ALL).spec.observation == "binary"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"columns": None}, "is mixed and has columns=None: give them"),
        ({"observation": "real"}, "is real and has columns="),
        ({"num_features": 7}, "must have names of their own and hold num_features=7 numbers, got .*, which hold 6"),
        ({"columns": COLUMNS[:1] * 2}, "must have names of their own"),
    ],
)
def test_a_spec_that_does_not_fit_its_columns_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        DataSpec(**{"name": "t", "num_features": 6, "observation": "mixed", "columns": COLUMNS, **change})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": "a", "kind": "categorical", "categories": ["x"]}, "must have two categories or more, each once"),
        ({"name": "a", "kind": "real", "categories": ["x", "y"]}, "is real and has categories"),
        ({"name": "a", "kind": "text"}, "kind of column 'a' must be 'real' or 'binary' or 'categorical', got 'text'"),
        ({"name": "a"}, "a column is described by name, kind and categories, got"),
        ({"name": "a", "kind": "real", "size": 2}, "unknown entry in the description of a column, 'size'"),
    ],
)
def test_a_column_that_is_none_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Column.from_json(values)


def test_numbers_that_a_column_cannot_hold_are_named() -> None:
    spec = DataSpec("t", 6, "mixed", columns=COLUMNS)
    for at, sentence in (
        ((2, 4), "'smokes' of train .* must hold 0 or 1, got 7 in row 2"),
        ((2, 0), "'town' .* one-hots"),
    ):
        x = X.clone()
        x[at] = 7.0
        with pytest.raises(UsageError, match=sentence):
            Dataset(spec, (x,))
