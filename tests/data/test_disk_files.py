"""Arrays are found in files by their headers, and what is wrong with a file names it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ppgen.data import as_dataset, on_disk
from ppgen.errors import UsageError

X = np.random.default_rng(0).normal(size=(23, 2, 3)).astype(np.float32)
Y = np.arange(23) % 4


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def broken(folder: Path, what: str) -> Path:
    """A folder of three shards, or a file, with something wrong."""
    for index in range(3):
        np.save(folder / f"x-{index:02d}-of-03.npy", X)
    shard, file = folder / "x-01-of-03.npy", folder / "a" / "a.npy"
    file.parent.mkdir()
    match what:
        case "missing":
            shard.unlink()
        case "last":
            (folder / "x-02-of-03.npy").unlink()
        case "truncated":
            cut(shard)
        case "shape":
            np.save(shard, X[:, 0])
        case "type":
            np.save(shard, X.astype(np.float64))
        case "name":
            shard.rename(folder / "y.npy")
        case "none":
            return file.parent
        case "objects":
            np.save(file, np.array([{}, []], dtype=object), allow_pickle=True)
        case "text":
            np.save(file, np.array(["a", "b"]))
        case "number":
            np.save(file, np.float32(1))
        case "columns":
            np.save(file, np.asfortranarray(X))
        case "bytes":
            file.write_bytes(b"no array")
        case "compressed":
            np.savez_compressed(file.with_suffix(".npz"), x=X, y=Y)
            return file.with_suffix(".npz")
        case "archive":
            np.savez(file.with_suffix(".npz"), x=X, y=Y)
            cut(file.with_suffix(".npz"))
            return file.with_suffix(".npz")
    return file if file.exists() else folder


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("missing", "number 1 is not there, before x-02-of-03.npy"),
        ("last", r"must hold 3 shards, as x-00-of-03.npy says, and has 2: bring back those after x-01"),
        ("truncated", r"x-01-of-03.npy is truncated: its header says \(23, 2, 3\) of float32, and 8 bytes"),
        ("shape", r"x-00-of-03.npy is \(n, 2, 3\) of float32, x-01-of-03.npy is \(n, 3\) of float32"),
        ("type", "x-01-of-03.npy is .* of float64: write them alike"),
        ("name", "must have one name and a number each.* got x-00-of-03.npy and y.npy"),
        ("none", "must hold .npy files, the shards of an array, and has none"),
        ("objects", "a.npy must be an array of numbers, got object"),
        ("text", "a.npy must be an array of numbers, got <U1"),
        ("number", "a.npy must be an array with one row a datum, got a single number"),
        ("columns", "a.npy is stored by columns"),
        ("bytes", "a.npy must be a .npy file of numbers, but it cannot be read"),
        ("compressed", "x in .*a.npz is compressed, so that no row can be read alone: write it with np.savez"),
        ("archive", "a.npz must be a NumPy .npz archive, but it cannot be read"),
    ],
)
def test_a_file_with_something_wrong_is_named_in_one_sentence(what: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        on_disk(broken(tmp_path, what))


def test_what_is_no_path_of_an_array_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "a.npy", "a.csv", "x" * 10_000):
        with pytest.raises(UsageError, match=r"expected the path of a \.npy or \.npz file or of a folder"):
            on_disk(path)
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    with pytest.raises(UsageError, match="holds 2 arrays, and stands for one entry"):
        as_dataset((X, tmp_path / "x.npz"))


def test_numbers_that_no_file_has_are_kept(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[0] = 7
    assert torch.equal(as_dataset(private).train[0], torch.from_numpy(np.array(private)))


def test_a_map_that_is_written_to_is_read_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    shared = np.load(tmp_path / "x.npy", mmap_mode="r+")
    shared[0] = 7
    assert torch.equal(as_dataset(shared).train[0][0], torch.full((2, 3), 7.0))
    with pytest.raises(UsageError, match="whose numbers do not lie one after another"):
        as_dataset(shared[:, 0])
