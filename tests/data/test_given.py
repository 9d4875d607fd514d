"""Data of one's own as they are: every form in which people have them, and what is refused in one sentence."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.sparse
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from ppgen.data import as_dataset, dataset_from, load_data
from ppgen.errors import UsageError
from ppgen.models import RBM, VAE

N = 6


class Items(TorchDataset[Any]):
    """A map-style data set; it counts how often each item was read."""

    def __init__(self, *columns: Any, single: bool = False) -> None:
        self.columns, self.single, self.reads = columns, single, [0] * len(columns[0])

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: int) -> Any:
        self.reads[index] += 1
        item = tuple(column[index] for column in self.columns)
        return item[0] if self.single else item


class Stream(IterableDataset[Any]):
    """It can only be read from the front."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(X)


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """N rows, all different."""
    return torch.arange(1, 1 + N * int(np.prod(shape))).reshape(N, *shape).to(dtype)


X, Y = numbers(3, dtype=torch.float64), torch.arange(N) % 2
FRAME = pandas.DataFrame({"a": np.arange(N), "b": np.linspace(0, 1, N)})

KINDS: dict[str, tuple[Any, tuple[Tensor, ...]]] = {
    "float64": (X, (X,)),
    "float16": (numbers(2, dtype=torch.float16), (numbers(2, dtype=torch.float16),)),
    "integers": (numbers(4, dtype=torch.int64), (numbers(4, dtype=torch.int64),)),
    "sequences": (numbers(5, 2), (numbers(5, 2),)),
    "pictures": (numbers(3, 4, 4, dtype=torch.uint8), (numbers(3, 4, 4, dtype=torch.uint8),)),
    "a vector": (numbers(), (numbers(),)),
    "a vector of integers": (Y, (Y,)),
    "several": ((X, Y, numbers(5, 2)), (X, Y, numbers(5, 2))),
    "an array": (X.numpy(), (X,)),
    "an array of bytes the other way round": (X.numpy().astype(">f8"), (X,)),
    "an array of truth values": (Y.bool().numpy(), (Y.bool(),)),
    "an array by columns": (np.asfortranarray(X.numpy()), (X,)),
    "a dict": ({"x": X, "y": Y.numpy()}, (X, Y)),
    "arrays": ((X.numpy(), Y.numpy().astype(np.int32)), (X, Y.int())),
    "a list": ([[1.0, 2.0]] * N, (torch.tensor([[1.0, 2.0]] * N),)),
    "a list of tuples": ([(1, 2)] * N, (torch.tensor([[1, 2]] * N),)),
    "a frame": (FRAME, (torch.tensor(FRAME.to_numpy()),)),
    "a frame of integers": (FRAME[["a"]], (torch.arange(N)[:, None],)),
    "a frame of truth values and numbers": (
        FRAME.assign(a=Y.bool().numpy()),
        (torch.stack([Y.double(), torch.tensor(FRAME["b"].to_numpy())], 1),),
    ),
    "a frame of nullable integers": (FRAME[["a"]].astype("Int64"), (torch.arange(N)[:, None],)),
    "a frame and a series": ((FRAME[["b"]], FRAME["a"]), (torch.tensor(FRAME[["b"]].to_numpy()), torch.arange(N))),
    "items": (Items(X, single=True), (X,)),
    "items in tuples": (Items(X, Y), (X, Y)),
    "items of arrays and numbers": (Items(X.numpy(), Y.tolist()), (X, Y)),
    "tensors of torch's": (TensorDataset(X, Y), (X, Y)),
    "a subset": (Subset(TensorDataset(X, Y), [4, 1]), (X[[4, 1]], Y[[4, 1]])),
}


@pytest.mark.parametrize("kind", KINDS)
def test_data_keep_their_shape_type_and_order(kind: str) -> None:
    given, expected = KINDS[kind]
    data = as_dataset(given)
    assert len(data.train) == len(expected)
    for part, wanted in zip(data.train, expected, strict=True):
        assert part.dtype == wanted.dtype
        assert torch.equal(part, wanted)
    assert data.spec.shape == expected[0].shape[1:]
    assert (data.valid, data.test, data.config) == ((), (), {})


def test_items_are_read_once() -> None:
    items = Items(X, Y)
    as_dataset(items)
    assert items.reads == [1] * N


def test_files_are_read(tmp_path: Path) -> None:
    table, archive, bare = tmp_path / "a.csv", tmp_path / "a.npz", tmp_path / "b.csv"
    FRAME.to_csv(table, index=False)
    np.savez(archive, second=X.numpy(), first=Y.numpy())
    np.savetxt(bare, X.numpy(), delimiter=",")
    assert torch.equal(as_dataset(table).train[0], torch.tensor(FRAME.to_numpy()))
    assert torch.equal(as_dataset(str(bare)).train[0], X)  # a first line of numbers names no columns
    x, y = as_dataset(archive).train  # in the order they were written in
    assert torch.equal(x, X)
    assert torch.equal(y, Y)


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.float32])
def test_sparse_rows_are_dense_in_a_batch_and_keep_their_type(kind: Any) -> None:
    dense = np.eye(N, 4).astype(kind)
    data = as_dataset(scipy.sparse.csr_array(dense))
    assert torch.equal(data.rows("train")[0], torch.from_numpy(dense))
    assert data.rows("train")[0].dtype == torch.from_numpy(dense).dtype


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (np.ma.masked_equal(X.numpy(), 2), r"train is a masked array.*fill it in, x.filled\(0.0\), and give the mask"),
        (FRAME.assign(name="n", place="p"), "columns of numbers, and 'name', 'place' hold no numbers"),
        (FRAME.assign(a=pandas.Series([1.0, None] * 3)), "columns of numbers, and 'a' have missing values"),
        (FRAME[[]], "the frame has none"),
        (np.array(["a"]), "train must be an array of numbers, got <U1"),
        (None, "train must be an array of numbers, got NoneType"),
        (({"x": X},), "got a dict of 'x'"),
        ({"x": {"y": X}}, "got a dict of 'y'"),
        ({}, "train is an empty dict"),
        ([[1.0], [1.0, 2.0]], "got a list that is none"),
        ((X, Y[:2]), r"must have the same number of rows, got \[6, 2\]"),
        ((), "train is an empty tuple"),
        ([], "train of data 'user' is empty"),
        (X[:0], "train of data 'user' is empty"),
        (torch.tensor(1.5), "one row a datum, got the number 1.5"),
        (X / 0, r"must hold finite numbers, got inf in row 0.*given a mask as one more tensor"),
        (Stream(), "map-style.*got Stream: give one with __len__"),
        (DataLoader(Items(X)), "map-style.*got DataLoader: give its .dataset"),
        (Items([X[0], X[0, :2]], single=True), "all of one shape, and cannot be stacked"),
        ("digits", "path of a .csv or .npz file that exists, got 'digits'.*ppgen.load_data"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_data_is_refused_in_one_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        as_dataset(given)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    for name in ("a.csv", "a.npz"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(UsageError, match=f"{name} must be"):
            as_dataset(tmp_path / name)
    (tmp_path / "b.csv").write_text("a,b\n1,x\n")
    with pytest.raises(UsageError, match=r"train in .*b.csv must have columns of numbers, and 'b' hold no numbers"):
        as_dataset(tmp_path / "b.csv")


def test_held_out_data_are_those_that_are_given_and_are_said() -> None:
    data = as_dataset(X, valid=X[:2])
    assert (len(data.train[0]), len(data.valid[0]), data.last_split) == (N, 2, "valid")
    assert repr(data) == "data 'user': 6 to train, 2 held out for valid"
    assert repr(as_dataset(X)) == "data 'user': 6 to train, nothing held out"
    assert (
        repr(dataset_from(torch.randn(20, 3))) == "data 'user': 16 to train, 2 held out for valid, 2 held out for test"
    )
    with pytest.raises(UsageError, match="hold nothing out for 'test': name the split 'valid', or give test data"):
        data.split("test")
    for other in (X.float(), (X, Y), X[:, :2]):
        with pytest.raises(UsageError, match=r"valid must be of the kind of train, which is torch\.float64"):
            as_dataset(X, valid=other)


def test_a_data_set_stays_what_it_is() -> None:
    data = load_data("digits")
    assert as_dataset(data) is data
    with pytest.raises(UsageError, match="valid were given beside data that bring their own"):
        as_dataset(data, valid=X)


def test_a_list_of_data_sets_is_one_of_several_parts() -> None:
    labelled, digits = as_dataset((X, Y), valid=(X, Y)), load_data("digits")
    data = as_dataset([labelled, (X,), digits])
    assert [len(part.train) for part in data.parts] == [2, 1, 1]
    assert data.valid
    assert data.config == {}
    assert repr(data).count("; beside data") == 2
    assert data.sha256 != labelled.sha256
    assert data.sha256 == as_dataset([labelled, (X,), digits]).sha256
    assert as_dataset([digits]).config == digits.config
    assert data.to("cpu").sha256 == data.sha256


def test_the_hash_tells_types_apart() -> None:
    assert len({as_dataset(values).sha256 for values in (X, X.float(), X[:, :, None], (X, Y), X.flip(0))}) == 5


@pytest.mark.parametrize("make", [lambda spec: VAE(spec, 2), lambda spec: RBM(spec, 2)])
def test_a_pair_that_needs_a_likelihood_is_not_made_of_data_that_say_none(make: Callable[[Any], Any]) -> None:
    with pytest.raises(UsageError, match=r"as they were given and say no (likelihood|layer).*ppgen.dataset_from"):
        make(as_dataset(X).spec)


def test_loaders_and_own_tensors_come_in_torch_s_default_type() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        for data in (load_data("digits"), load_data("linear_gaussian"), dataset_from(X.float()), load_data("bars")):
            assert data.rows("train", slice(2))[0].dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


MASKED = np.ma.masked_equal(X.numpy(), 2)


@pytest.mark.parametrize(
    "given",
    [MASKED, (X, MASKED), [MASKED, MASKED], (X.tolist(), [1.0, np.ma.masked, 0, 0, 0, 0]), Items(X, MASKED)],
    ids=["an array", "labels", "a list", "a masked entry", "items"],
)
@pytest.mark.parametrize("enter", [as_dataset, dataset_from])
def test_a_mask_is_never_lost(enter: Callable[[Any], Any], given: Any) -> None:
    if isinstance(given, Items) and enter is dataset_from:
        given = tuple(given.columns)
    with pytest.raises(UsageError, match="masked array, whose mask a tensor would lose: fill it in"):
        enter(given)


def test_a_sparse_matrix_is_read_from_scipy_s_own_file(tmp_path: Path) -> None:
    dense = np.eye(N, 4, dtype=np.int32)
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csc_array(dense))
    data = as_dataset(tmp_path / "x.npz")
    assert torch.equal(data.rows("train")[0], torch.from_numpy(dense))


@pytest.mark.parametrize(
    "given",
    [X.to("meta"), X.float().to_mkldnn()],
    ids=["meta", "mkldnn"],
)
@pytest.mark.parametrize("enter", [as_dataset, dataset_from])
def test_a_tensor_without_plain_numbers_is_refused(enter: Callable[[Any], Any], given: Tensor) -> None:
    with pytest.raises(UsageError, match=r"train must be a dense or sparse tensor of numbers, .*: make it dense"):
        enter(given)


def test_a_list_of_tensors_or_arrays_is_their_stack() -> None:
    for rows in (list(X), [row.numpy() for row in X]):
        assert torch.equal(dataset_from(rows, valid=X, test=X).train[0], X.float())
