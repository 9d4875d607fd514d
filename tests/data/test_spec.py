"""The description of a datum: what it refuses, and that it survives JSON."""

import json
from typing import Any

import pytest
import torch

from ppgen.data import DataSpec
from ppgen.errors import UsageError

SPECS = [
    DataSpec("a", 6, "binary", image_shape=(2, 3), num_classes=4, num_data=10),
    DataSpec("b", 12, "quantised", image_shape=(3, 2, 2), levels=256),
    DataSpec("c", 1, "real", mean=torch.zeros(1)),
    DataSpec("d", 2, "counts", length=9, vocabulary=("a", "b")),
    DataSpec("e", 2, "symbols", length=9, vocabulary=("a", "b")),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_spec_survives_json(spec: DataSpec) -> None:
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_spec_compares_and_saves_without_the_mean_and_the_vocabulary() -> None:
    spec = DataSpec("c", 2, "counts", mean=torch.ones(2), vocabulary=("a", "b"))
    assert spec == DataSpec("c", 2, "counts")
    assert not {"mean", "vocabulary"} & spec.to_json().keys()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_features": 0}, "num_features of data 'x' must be a whole number of at least 1, got 0"),
        ({"num_features": True}, "got True"),
        ({"num_features": None}, "got None"),
        ({"num_data": 0}, "num_data"),
        ({"num_classes": 2.0}, "num_classes"),
        (
            {"observation": "binry"},
            "observation of data 'x' must be 'binary' or .* or 'counts' or 'symbols' or .* or 'any', got 'binry'",
        ),
        ({"observation": "quantised"}, "give levels for quantised data"),
        ({"levels": 256}, "give levels for quantised data"),
        ({"observation": "quantised", "levels": 1}, "levels of data 'x' must be a whole number of at least 2"),
        ({"image_shape": (2, 2)}, r"image_shape .* holding num_features=6 numbers, got \(2, 2\)"),
        ({"image_shape": (6,)}, "image_shape"),
        ({"length": 5}, "data 'x' is binary and has a length: give it for counts or symbols and nothing else"),
        ({"vocabulary": ("a",) * 6}, "data 'x' is binary and has a vocabulary"),
        ({"observation": "counts", "length": 0}, "length of data 'x' must be a whole number of at least 1, got 0"),
        (
            {"observation": "counts", "vocabulary": ("a",)},
            "vocabulary of data 'x' must hold num_features=6 words, got 1",
        ),
        ({"mean": torch.zeros(5)}, r"mean of data 'x' must have shape \(6,\), got \(5,\)"),
    ],
    ids=str,
)
def test_spec_refuses(changes: dict[str, Any], sentence: str) -> None:
    values: dict[str, Any] = {"name": "x", "num_features": 6, "observation": "binary"}
    with pytest.raises(UsageError, match=sentence):
        DataSpec(**(values | changes))


def test_from_json_names_an_unknown_entry() -> None:
    with pytest.raises(UsageError, match=r"unknown entry .* 'num_feature': did you mean 'num_features'"):
        DataSpec.from_json({"name": "x", "num_feature": 1})


def test_from_json_names_a_missing_entry() -> None:
    with pytest.raises(UsageError, match="lacks observation"):
        DataSpec.from_json({"name": "x", "num_features": 1})


@pytest.mark.parametrize(
    ("entry", "value", "sentence"),
    [
        ("name", 5, "name of data 5 must be text, got 5"),
        ("image_shape", 4, "image_shape of data 'toy' must be a list of whole numbers of at least 1, got 4"),
        ("image_shape", (-2, -2), "must be a list of whole numbers of at least 1"),
        ("image_shape", (2.0, 2), "must be a list of whole numbers of at least 1"),
        ("mean", [0.0] * 4, "mean of data 'toy' must be a Tensor"),
        ("vocabulary", "abcd", "vocabulary of data 'toy' must be a list of words"),
        ("vocabulary", ("a", "b", "c", 1), "vocabulary of data 'toy' must be a list of words"),
    ],
)
def test_an_entry_of_another_type_is_refused(entry: str, value: Any, sentence: str) -> None:
    described: dict[str, Any] = {"name": "toy", "num_features": 4, "observation": "counts"}
    with pytest.raises(UsageError, match=sentence):
        DataSpec(**described | {entry: value})
