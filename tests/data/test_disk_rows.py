"""Rows of files are those of the array in memory, wherever they are taken."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppgen.data import SPLITS, DiskRows, SparseRows, as_dataset, dataset_from, load_data, on_disk
from ppgen.errors import UsageError

N = 23
X = np.random.default_rng(0).normal(size=(N, 2, 3)).astype(np.float32)
Y = np.arange(N) % 4


def npy(folder: Path, x: NDArray[Any]) -> Any:
    np.save(folder / "x.npy", x)
    return on_disk(folder / "x.npy")


def shards(folder: Path, x: NDArray[Any]) -> Any:
    for index, part in enumerate((x[:5], x[5:5], x[5:6], x[6:])):
        np.save(folder / f"x-{index}.npy", part)
    return on_disk(folder)


def member(folder: Path, x: NDArray[Any]) -> Any:
    np.savez(folder / "x.npz", odd=np.zeros(3, np.int8), x=x)
    found: Any = on_disk(folder / "x.npz")
    return found[1]


def memmap(folder: Path, x: NDArray[Any]) -> Any:
    np.save(folder / "x.npy", np.concatenate([x[:2], x, x]))
    return as_dataset(np.load(folder / "x.npy", mmap_mode="r")[2 : 2 + len(x)]).train[0]


Written = Callable[[Path, NDArray[Any]], DiskRows]
WAYS: list[Written] = [npy, shards, member, memmap]
by_every_way = pytest.mark.parametrize("write", WAYS, ids=lambda write: write.__name__)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows of X in a piece."""
    monkeypatch.setattr("ppgen.data.disk_rows._PIECE", 4 * X[0].nbytes)


@by_every_way
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i2", "|u1", "|b1"])
def test_rows_are_those_of_the_array(write: Written, kind: str, tmp_path: Path) -> None:
    x = (10 * X).astype(kind)
    rows, whole = write(tmp_path, x), torch.from_numpy(x.astype(np.dtype(kind).newbyteorder("=")))
    assert isinstance(rows, DiskRows)
    assert (rows.shape, rows.dtype, len(rows), rows.ndim) == (whole.shape, whole.dtype, N, 3)
    index = torch.tensor([5, 22, 5, 0])
    for found, wanted in (
        (rows.index_select(0, index), whole[index]),
        (rows[index - N], whole[index]),
        (rows[index.view(2, 2)], whole[index.view(2, 2)]),
        (rows[2:9:3], whole[2:9:3]),
        (rows[-3:], whole[-3:]),
        (rows[4:4], whole[4:4]),
        (rows[torch.arange(N) > 19], whole[20:]),
        (rows[-1], whole[-1]),
        (rows[:], whole),
        (rows.take(index)[1:], whole[index][1:]),
        (rows.flatten(1)[:], whole.flatten(1)),
        (rows.to(torch.float64)[:], whole.double()),
    ):
        assert found.dtype == wanted.dtype
        assert torch.equal(found, wanted)
    with pytest.raises(IndexError, match="within 23"):
        rows[N]
    assert sum(1 for _ in rows) == N


@by_every_way
@pytest.mark.usefixtures("small_pieces")
def test_a_data_set_is_that_of_the_array_in_memory(write: Written, tmp_path: Path) -> None:
    rows, y = write(tmp_path, X), torch.from_numpy(Y)
    for there, here in (
        (as_dataset((rows, y)), as_dataset((X, y))),
        (dataset_from((rows, y), num_classes=4), dataset_from((X, y), num_classes=4)),
    ):
        assert isinstance(there.train[0], DiskRows)
        assert there.sha256 == here.sha256
        assert there.spec == here.spec
        for split in SPLITS:
            if getattr(here, split):
                assert torch.equal(there.rows(split, slice(5))[0], here.rows(split, slice(5))[0])
    assert torch.allclose(there.spec.centre, here.spec.centre, atol=1e-6)


def test_a_path_is_data(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    npy(tmp_path, X), shards(tmp_path / "shards", X)
    np.save(tmp_path / "y.npy", Y)
    for path in (tmp_path / "x.npy", str(tmp_path / "x.npy"), tmp_path / "shards"):
        assert torch.equal(as_dataset(path).train[0][:], torch.from_numpy(X))
        assert dataset_from(path).spec.num_features == 6
    x, y = dataset_from((tmp_path / "shards", tmp_path / "y.npy"), num_classes=4).train
    assert (type(x), type(y), y.dtype) == (DiskRows, DiskRows, torch.int64)


@pytest.mark.parametrize(
    ("x", "options", "observation"),
    [
        (X > 0, {}, "binary"),
        (X, {}, "real"),
        ((X > 0) / 2, {"dynamic": True}, "binary"),
        ((1 + (X > 0)).astype(np.uint8), {"observation": "counts"}, "counts"),
    ],
    ids=["binary", "real", "dynamic", "counts"],
)
@pytest.mark.usefixtures("small_pieces")
def test_the_observation_is_found_in_all_pieces(
    x: NDArray[Any], options: dict[str, Any], observation: str, tmp_path: Path
) -> None:
    data, resident = dataset_from(npy(tmp_path, x), **options), dataset_from(x, **options)
    assert data.spec.observation == resident.spec.observation == observation
    assert data.sha256 == resident.sha256
    assert data.train[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "options", "sentence"),
    [
        (
            np.where(np.arange(N)[:, None] == 17, np.nan, 1.0),
            {},
            "must hold finite numbers, got nan in row 17, column 0",
        ),
        (X.astype(np.float64) * 1e200, {}, "must hold finite numbers, got .*inf in row 0"),
        (np.arange(N)[:, None], {"observation": "binary"}, "must hold 0 or 1, got 2 in row 2"),
        (np.arange(N)[:, None] / 22, {"levels": 12}, "rescale x or correct levels"),
        (np.eye(N)[:, :-1], {"observation": "counts"}, r"1 of \d+ are empty \(row 22\)"),
        (np.arange(N)[:, None] / 20, {"dynamic": True}, r"probabilities in \[0, 1\], got 1.05 in row 21"),
    ],
    ids=["nan", "overflow", "binary", "levels", "empty", "probabilities"],
)
@pytest.mark.usefixtures("small_pieces")
def test_a_wrong_number_is_named_by_its_row(
    x: NDArray[Any], options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        dataset_from(npy(tmp_path, x), **options)


def test_values_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    pieces = DiskRows.pieces

    def counted(rows: DiskRows) -> Any:
        read.append(len(rows))
        return pieces(rows)

    monkeypatch.setattr(DiskRows, "pieces", counted)
    data = dataset_from(npy(tmp_path, X), observation="real")
    data.to("cpu")
    assert sorted(read) == [N - 2 * 2, N]  # the mean is that of the training data


def test_sparse_and_mapped_data_go_together(tmp_path: Path) -> None:
    data = as_dataset((npy(tmp_path, X), SparseRows.of(torch.eye(N))))
    x, y = data.rows("train", torch.tensor([3, 1]))
    assert torch.equal(x, torch.from_numpy(X[[3, 1]]))
    assert torch.equal(y, torch.eye(N)[[3, 1]])


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def written_to(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\0")
    os.utime(path, ns=(0, 1))  # clocks of file systems are coarse


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (cut, r"x.npy has changed while it was read \(it has 672 bytes and had 680\)"),
        (written_to, r"x.npy has changed while it was read \(it was written anew\)"),
        (Path.unlink, "x.npy cannot be read any more .*No such file"),
    ],
    ids=["truncated", "written", "gone"],
)
def test_a_file_that_changes_is_found_when_it_is_read(
    change: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    data = as_dataset(npy(tmp_path, X))
    change(tmp_path / "x.npy")
    with pytest.raises(UsageError, match=sentence):
        data.rows("train", slice(2))


def test_the_cast_is_that_of_the_array(tmp_path: Path) -> None:
    wide = np.linspace(0, 1, N)[:, None]
    rows = dataset_from(npy(tmp_path, wide), valid=wide, test=wide).train[0]
    assert torch.equal(rows[:], torch.from_numpy(wide).float())
    assert isinstance(rows[3:4], Tensor)


def test_arrays_are_a_data_set_by_name(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "test.npy", X[:4])
    data = load_data("arrays", file=str(tmp_path / "x.npy"), test=str(tmp_path / "test.npy"), seed=3)
    assert data.sha256 == dataset_from(X, test=X[:4], seed=3).sha256
    assert load_data(data.config["name"], **data.config["options"]).sha256 == data.sha256
    for options, sentence in (
        ({}, "needs a .npy file or a folder of them: file='x.npy'"),
        ({"file": "none.npy"}, "expected the path of a .npy or .npz file or of a folder of .npy files, got 'none.npy'"),
        ({"file": str(tmp_path / "x.npy"), "observation": "reel"}, "unknown observation 'reel': did you mean 'real'"),
    ):
        with pytest.raises(UsageError) as refused:
            load_data("arrays", **options)
        assert sentence in str(refused.value)
