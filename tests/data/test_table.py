"""Tables of one's own: frames, dicts of arrays, files; which columns are x and which is y, and of what kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ppgen.data import as_dataset, dataset_from, load_data
from ppgen.errors import UsageError

N = 12
FRAME = pandas.DataFrame(
    {
        "height": np.linspace(1.5, 1.9, N),
        "smokes": np.arange(N) % 2,
        "visits": np.arange(N) % 5 * 2,
        "kind": ["b", "a", "c"] * 4,
    }
)
NUMBERS = FRAME[["height", "smokes", "visits"]]
X = torch.tensor(NUMBERS.to_numpy()).float()
ALL: dict[str, Any] = {"valid": 0.0, "test": 0.0}


@pytest.fixture
def table(tmp_path: Path) -> str:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    return str(tmp_path / "t.csv")


def test_columns_and_target_are_x_and_y(table: str) -> None:
    for data in (load_data(table, target="kind", **ALL), dataset_from(FRAME, target="kind", **ALL)):
        x, y = data.train
        assert torch.equal(x, X)
        assert torch.equal(y, torch.tensor([1, 0, 2] * 4))
        assert data.spec.num_classes == 3
        assert data.kinds == {
            "height": "real",
            "smokes": "binary",
            "visits": "real",
            "kind": "categorical (a, b, c)",
        }
        assert repr(data).endswith(
            "nothing held out; height: real; smokes: binary; visits: real; kind: categorical (a, b, c)"
        )
        real = load_data(table, target="kind", observation="real", **ALL)
        assert (real.spec.observation, real.kinds["visits"]) == ("real", "counts")
        assert torch.equal(real.train[0], x)
    some = load_data(table, target="smokes", columns="[visits, height]", **ALL)
    assert torch.equal(some.train[0], X[:, [2, 0]])
    assert (some.train[1].dtype, some.kinds["smokes"]) == (torch.int64, "binary")
    assert some.names == ("visits", "height")


def test_a_real_target_is_in_the_default_type_and_has_no_classes(table: str) -> None:
    data = load_data(table, target="height", columns=["smokes", "visits"], **ALL)
    assert (data.train[1].dtype, data.spec.num_classes, data.kinds["height"]) == (torch.float32, None, "real")
    counts = load_data(table, target="visits", columns=["height"], **ALL)  # 0, 2, ..., 8 are no names of classes
    assert (counts.train[1].dtype, counts.spec.num_classes, counts.kinds["visits"]) == (torch.int64, None, "counts")
    assert load_data(table, target="visits", columns=["height"], categorical=True, **ALL).spec.num_classes == 5


def test_labels_may_be_left_out(table: str) -> None:
    data = load_data(table, target="kind", labels=False, **ALL)
    assert len(data.train) == 1
    assert "kind" not in data.kinds
    with pytest.raises(UsageError, match="labels were asked for, and train has no y: name its column, target="):
        load_data(table, columns=["height"], labels=True, **ALL)


def test_shares_are_held_out_and_config_loads_the_same_again(table: str) -> None:
    data = load_data(table, target="kind", valid=0.25, test=0)
    assert (len(data.train[0]), len(data.valid[0]), data.test) == (9, 3, ())
    again = load_data(data.config["name"], **data.config["options"])
    assert again.sha256 == data.sha256
    assert data.config["options"]["file"] == table
    held = dataset_from(FRAME, target="kind", valid=FRAME[:2], test=0.25)
    assert (len(held.train[0]), len(held.valid[0]), len(held.test[0])) == (9, 2, 3)


def test_standardised_features_have_mean_0_and_are_given_back_in_their_units() -> None:
    frame = NUMBERS.assign(same=7.0)
    data = dataset_from(frame, standardise=True, observation="real", valid=0.25, test=0.0)
    x = data.train[0]
    assert data.spec.observation == "real"
    assert torch.allclose(x.mean(0), torch.zeros(4), atol=1e-6)
    assert torch.allclose(x.std(0, correction=0), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-6)
    plain = dataset_from(frame, observation="real", valid=0.25, test=0.0)
    assert torch.allclose(data.in_units(x), plain.train[0], atol=1e-5)
    assert torch.allclose(data.in_units(data.valid[0]), plain.valid[0], atol=1e-5)
    assert set(data.found) == {"kinds", "standardised"}
    with pytest.raises(UsageError, match="standardise is for real data in memory, and these are binary"):
        dataset_from(frame, standardise=True, observation="binary")


FORMS: dict[str, tuple[Any, tuple[torch.Tensor, ...]]] = {
    "a dict of columns": ({"a": X[:, 0], "b": X[:, 1].numpy()}, (X[:, :2],)),
    "a dict of entries": ({"x": X, "y": torch.arange(N)}, (X, torch.arange(N))),
    "a frame": (NUMBERS, (X,)),
    "parts": (TensorDataset(X, torch.arange(N)), (X, torch.arange(N))),
    "items": (torch.utils.data.Subset(TensorDataset(X, torch.arange(N)), range(N)), (X, torch.arange(N))),
    "pictures in parts": (TensorDataset(X.reshape(N, 1, 3)), (X,)),
    "splits": ({"train": (X, torch.arange(N))}, (X, torch.arange(N))),
}


@pytest.mark.parametrize("form", FORMS)
def test_parts_stay_parts(form: str) -> None:
    given, expected = FORMS[form]
    parts = dataset_from(given, **ALL).train
    assert len(parts) == len(expected)
    assert all(torch.equal(part, wanted) for part, wanted in zip(parts, expected, strict=True))


def test_a_dict_is_the_entries_of_a_batch_as_they_are() -> None:
    data = as_dataset({"x": X.double(), "y": torch.arange(N)})
    assert [part.dtype for part in data.train] == [torch.float64, torch.int64]
    assert len(as_dataset({"train": X, "test": X[:2]}).test[0]) == 2
    with pytest.raises(UsageError, match="test was given twice"):
        as_dataset({"train": X, "test": X}, test=X)


def test_arrays_of_an_archive_are_columns_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(N * 4).reshape(N, 2, 2) / 4, y=np.arange(N) % 3)
    data = load_data(str(tmp_path / "a.npz"), target="y", **ALL)
    assert (data.spec.image_shape, data.spec.num_classes) == ((2, 2), 3)
    with pytest.raises(UsageError, match=r"a\.npz has no column 'z': did you mean|a\.npz has no column 'z': Known"):
        load_data(str(tmp_path / "a.npz"), target="z")


def test_an_archive_of_word_counts_is_documents(tmp_path: Path) -> None:
    from scipy import sparse

    sparse.save_npz(tmp_path / "c.npz", sparse.csr_array(np.ones((N, 3))))
    assert load_data(str(tmp_path / "c.npz")).config["name"] == "documents"


def _gap(frame: pandas.DataFrame) -> pandas.DataFrame:
    return frame.assign(visits=[1.0, None, *frame["visits"][2:]])


@pytest.mark.parametrize(
    ("frame", "options", "sentence"),
    [
        (FRAME, {"observation": "real"}, r"column 'kind' of train in .*t\.csv must hold numbers, and holds 'b': leave"),
        (_gap(NUMBERS), {}, r"column 'visits' of train in .* has a missing value in row 1, the first of 1: fill it in"),
        (FRAME, {"target": "kinds"}, "has no column 'kinds': did you mean 'kind'"),
        (FRAME, {"columns": ["hight"]}, "has no column 'hight': did you mean 'height'"),
        (FRAME.assign(kind=["a", None] * 6), {"target": "kind"}, "the target 'kind' .* missing value in row 1"),
        (NUMBERS[:1], {}, "cannot split valid and test of 1 rows off the 1 rows of train"),
        (FRAME[["kind"]], {"target": "kind"}, "has the column 'kind' alone, and nothing for x"),
        (FRAME, {"target": "kind", "columns": 1.5}, "columns must be a list of names, got 1.5"),
        (FRAME, {"target": "kind", "observation": "reel"}, "observation must be 'binary' or 'real' or"),
        (FRAME, {"target": "kind", "test": 1.5}, "test must be a number of at least 0 and below 1"),
    ],
    ids=lambda value: "",
)
def test_what_is_wrong_with_a_table_is_one_sentence(
    tmp_path: Path, frame: pandas.DataFrame, options: dict[str, Any], sentence: str
) -> None:
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UsageError, match=sentence):
        load_data(str(tmp_path / "t.csv"), **options)


def test_a_class_that_training_lacks_is_named() -> None:
    with pytest.raises(UsageError, match="target of test is 'd' in row 0, a class that the training data lack"):
        dataset_from(FRAME, target="kind", test=FRAME.assign(kind="d"))


def test_what_has_no_names_has_no_target_and_a_loader_is_refused() -> None:
    with pytest.raises(UsageError, match="train has no columns with names"):
        dataset_from(X, target="y")
    with pytest.raises(UsageError, match=r"got DataLoader: give its \.dataset"):
        dataset_from(DataLoader(TensorDataset(X)))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.csv", "there is no file 'none.csv'"),
        ("t.txt", r"data are read from files \.csv, \.npz, \.npy and from folders, got 't.txt'"),
        ("empty", "folder empty holds neither pictures"),
        ("digit", "got 'digit': did you mean 'digits'"),
    ],
)
def test_a_path_that_is_no_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.txt").write_text("hello")
    with pytest.raises(UsageError, match=sentence):
        load_data(name)
