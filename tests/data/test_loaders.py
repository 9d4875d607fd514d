"""Loaders of files: small files in the original formats and in the archives, read to the same data."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy.io import savemat

from ppgen.data import (
    SPLITS,
    binarized_mnist,
    caltech101_silhouettes,
    cifar10,
    faces,
    frey_faces,
    load_data,
    mnist,
    omniglot,
)
from ppgen.errors import UsageError
from tests.generated import generated, made_or_refused

RANDOM = np.random.RandomState(0)
GREY = RANDOM.randint(0, 256, (20, 28, 28)).astype(np.uint8)
BITS = {
    split: RANDOM.randint(0, 2, (n, 784)).astype(np.uint8) for split, n in (("train", 8), ("valid", 4), ("test", 6))
}
PHOTOGRAPHS = np.arange(6 * 4096, dtype=np.uint8).reshape(6, 64, 64)
FACES = RANDOM.randint(0, 256, (10, 28, 20)).astype(np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files, and sizes small enough to fill it."""
    sizes = {split: len(bits) for split, bits in BITS.items()}
    monkeypatch.setenv("PPGEN_DATA", str(tmp_path))
    monkeypatch.setattr(mnist, "ROWS", {"train": 12, "t10k": 8})
    monkeypatch.setattr(binarized_mnist, "ROWS", sizes)
    monkeypatch.setattr(caltech101_silhouettes, "ROWS", sizes)
    monkeypatch.setattr(frey_faces, "ROWS", (6, 2, 2))
    monkeypatch.setattr(faces, "PEOPLE", (1, 1, 1))
    monkeypatch.setattr(faces, "EACH", 2)
    monkeypatch.setattr(cifar10, "ROWS", {"cifar10_subset.npz": (8, 4)})
    monkeypatch.setattr(omniglot, "ROWS", {"omniglot28.npz": (12, 8), "chardata.mat": (12, 8)})
    monkeypatch.setattr(omniglot, "NUM_VALID", 4)
    return tmp_path


def write_idx(path: Path, array: Any, *, pack: bool = True) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if pack else content)


def write_mnist(folder: Path, *, pack: bool = True) -> None:
    end = ".gz" if pack else ""
    for name, rows in (("train", slice(0, 12)), ("t10k", slice(12, 20))):
        write_idx(folder / f"{name}-images-idx3-ubyte{end}", GREY[rows], pack=pack)
        write_idx(folder / f"{name}-labels-idx1-ubyte{end}", np.arange(20)[rows] % 10, pack=pack)


def column_major(x: Any) -> Any:
    return np.stack([row.reshape(28, 28).flatten(order="F") for row in x])


def grey(rows: Any) -> torch.Tensor:
    return torch.from_numpy(GREY[rows].reshape(-1, 784) / np.float32(255))


def test_mnist_is_the_first_and_last_pictures_and_the_test_rows_in_fixed_order(folder: Path) -> None:
    write_mnist(folder)
    data = load_data("mnist", binarize="none", labels=True, num_valid=4)
    order = np.random.RandomState(0).permutation(8)
    for split, rows in (("train", np.arange(8)), ("valid", np.arange(8, 12)), ("test", 12 + order)):
        x, y = data.split(split)
        torch.testing.assert_close(x, grey(rows), rtol=0, atol=1e-7)  # one rounding of k / 255
        assert y.tolist() == (rows % 10).tolist()
    assert (data.spec.levels, data.spec.image_shape, data.spec.num_data) == (256, (28, 28), 8)


def test_mnist_is_dynamic_unless_told_otherwise(folder: Path) -> None:
    write_mnist(folder)
    data = load_data("mnist", num_valid=4)
    assert data.dynamic
    assert torch.equal(data.train[0], load_data("mnist", num_valid=4, binarize="none").train[0])
    assert torch.equal(data.test[0], data.test[0].round())
    assert data.sha256 == load_data("mnist", num_valid=4).sha256


def test_mnist_is_read_without_compression(folder: Path) -> None:
    write_mnist(folder)
    packed = load_data("mnist", num_valid=4).sha256
    for path in folder.iterdir():
        path.unlink()
    write_mnist(folder, pack=False)
    assert load_data("mnist", num_valid=4).sha256 == packed


@pytest.mark.parametrize(("num_valid", "range_"), [(0, "at least 1"), (12, "at most 11"), (2.0, "at least 1")])
def test_mnist_refuses_a_validation_set_that_leaves_nothing(num_valid: object, range_: str) -> None:
    with pytest.raises(UsageError, match=f"num_valid must be a whole number of {range_}, got {num_valid}"):
        load_data("mnist", num_valid=num_valid)


def test_mnist_trains_on_the_first_pictures_alone_if_asked(folder: Path) -> None:
    write_mnist(folder)
    few, all_of_it = (load_data("mnist", binarize="none", num_valid=4, num_data=num) for num in (3, None))
    assert torch.equal(few.train[0], all_of_it.train[0][:3])
    assert few.spec.num_data == 3
    assert torch.equal(few.valid[0], all_of_it.valid[0])
    with pytest.raises(UsageError, match=r"num_data .*at most 8, got 9"):
        load_data("mnist", num_valid=4, num_data=9)


def test_mnist_names_a_damaged_file(folder: Path) -> None:
    write_mnist(folder)
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"t10k-images-idx3-ubyte\.gz .*fetch it again"):
        load_data("mnist", num_valid=4)


def test_mnist_names_a_file_with_too_few_rows(folder: Path) -> None:
    write_mnist(folder)
    write_idx(folder / "train-images-idx3-ubyte.gz", GREY[:5])
    with pytest.raises(UsageError, match=r"train-images.* shape \(12, 28, 28\), got \(5, 28, 28\)"):
        load_data("mnist", num_valid=4)


def test_binarized_mnist_is_the_same_from_both_formats(folder: Path) -> None:
    for split, bits in BITS.items():
        np.savetxt(folder / f"binarized_mnist_{split}.amat", bits, fmt="%d")
    text = load_data("binarized_mnist")
    packed: dict[str, Any] = {f"{split}_packed": np.packbits(bits, axis=1) for split, bits in BITS.items()}
    np.savez(folder / "binarized_mnist.npz", **packed)
    for path in folder.glob("*.amat"):
        path.unlink()
    assert load_data("binarized_mnist").sha256 == text.sha256
    for split in ("train", "valid"):
        assert np.array_equal(text.split(split)[0].numpy(), BITS[split])
    assert np.array_equal(text.test[0].numpy(), BITS["test"][np.random.RandomState(0).permutation(6)])


def test_caltech_is_the_same_from_both_formats(folder: Path) -> None:
    labels = {split: np.arange(len(bits)) % 101 for split, bits in BITS.items()}
    matlab: dict[str, Any] = {}
    for split, short in (("train", "train"), ("valid", "val"), ("test", "test")):
        matlab[f"{short}_data"] = column_major(BITS[split])
        matlab[f"{short}_labels"] = labels[split][:, None] + 1
    savemat(folder / caltech101_silhouettes.REMOTE.file, matlab)
    original = load_data("caltech101_silhouettes", labels=True)
    (folder / caltech101_silhouettes.REMOTE.file).unlink()
    packed: dict[str, Any] = {f"{split}_packed": np.packbits(bits, axis=1) for split, bits in BITS.items()}
    packed |= {f"{split}_labels": y for split, y in labels.items()}
    np.savez(folder / "caltech101_silhouettes.npz", **packed)
    assert load_data("caltech101_silhouettes", labels=True).sha256 == original.sha256
    for split in SPLITS:
        x, y = original.split(split)
        assert np.array_equal(x.numpy(), BITS[split])
        assert np.array_equal(y.numpy(), labels[split])


def test_frey_faces_are_the_same_from_both_formats(folder: Path) -> None:
    savemat(folder / frey_faces.REMOTE.file, {"ff": FACES.reshape(10, 560).T})
    original = load_data("frey_faces")
    (folder / frey_faces.REMOTE.file).unlink()
    np.savez(folder / "frey_faces.npz", images=FACES)
    assert load_data("frey_faces").sha256 == original.sha256
    x = torch.cat([original.split(split)[0] for split in SPLITS]) * 255
    assert np.array_equal(x.round().numpy(), FACES.reshape(10, 560)[np.random.RandomState(0).permutation(10)])
    assert [len(original.split(split)[0]) for split in SPLITS] == [6, 2, 2]


def write_chardata(folder: Path) -> Any:
    """Sparse intensities in [0, 1], a column a picture, alphabets one-hot; returns the upright pictures."""
    ink = GREY.reshape(20, 784) / 255
    alphabets = np.eye(50)[np.arange(20)].T  # (50, 20)
    matlab = {"data": column_major(ink[:12]).T, "testdata": column_major(ink[12:]).T}
    savemat(folder / "chardata.mat", matlab | {"target": alphabets[:, :12], "testtarget": alphabets[:, 12:]})
    return ink


def test_omniglot_reads_the_original_upright_and_shuffled(folder: Path) -> None:
    ink = write_chardata(folder)
    data = load_data("omniglot", labels=True)
    rows = np.random.RandomState(0).permutation(12)
    assert np.allclose(data.train[0].numpy(), ink[rows[:8]])
    assert data.train[1].tolist() == rows[:8].tolist()
    assert data.valid[1].tolist() == rows[8:].tolist()
    assert data.test[1].tolist() == (12 + np.random.RandomState(0).permutation(8)).tolist()
    assert data.dynamic


def test_omniglot_reads_the_archive_by_its_index(folder: Path) -> None:
    rows = np.random.RandomState(1).permutation(20)
    path, alphabet = folder / "omniglot28.npz", np.arange(20)
    np.savez(path, images=GREY, alphabet=alphabet, train_index=rows[:12], test_index=rows[12:])
    data = load_data("omniglot", labels=True)
    assert [data.split(split)[1].tolist() for split in SPLITS] == [
        rows[:8].tolist(),
        rows[8:12].tolist(),
        rows[12:].tolist(),
    ]
    torch.testing.assert_close(data.train[0], grey(rows[:8]), rtol=0, atol=1e-7)
    threshold = load_data("omniglot", binarize="threshold")
    assert torch.equal(threshold.train[0], (data.train[0] > 0.5).float())


def test_omniglot_prefers_the_original(folder: Path) -> None:
    np.savez(folder / "omniglot28.npz", images=GREY)
    write_chardata(folder)
    assert load_data("omniglot").spec.num_data == 8


def test_omniglot_says_where_to_get_it() -> None:
    with pytest.raises(UsageError, match=r"needs chardata\.mat \(from https://github\.com/yburda/iwae"):
        load_data("omniglot")


def test_omniglot_has_no_grey_levels(folder: Path) -> None:
    write_chardata(folder)
    with pytest.raises(UsageError, match="unknown binarize 'none': Known names: dynamic, threshold"):
        load_data("omniglot", binarize="none")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": np.full((20, 28, 28), np.nan)}, "whole numbers from 0 to 255, got nan"),
        ({"alphabet": np.full(20, 50)}, "whole numbers from 0 to 49, got 50"),
        ({"alphabet": np.zeros(19)}, r"an array of shape \(20,\), got \(19,\)"),
        ({"train_index": np.full(12, 20)}, "whole numbers from 0 to 19, got 20"),
        ({"test_index": np.full(8, 0.5)}, "whole numbers from 0 to 19, got 0.5"),
        ({"images": np.full((20, 28, 28), "ink")}, "arrays of numbers, and 'images' is of <U3"),
    ],
)
def test_omniglot_names_an_archive_with_wrong_numbers(folder: Path, change: dict[str, Any], sentence: str) -> None:
    whole: dict[str, Any] = {
        "images": GREY,
        "alphabet": np.arange(20),
        "train_index": np.arange(12),
        "test_index": np.arange(12, 20),
    }
    np.savez(folder / "omniglot28.npz", **(whole | change))
    with pytest.raises(UsageError, match=rf"omniglot28\.npz must hold {sentence}"):
        load_data("omniglot")


def test_omniglot_names_a_drawing_without_numbers(folder: Path) -> None:
    ink = write_chardata(folder)
    ink[15, 3] = np.nan  # it is in no training row, and 0 once binarized
    savemat(
        folder / "chardata.mat",
        {"data": ink[:12].T, "testdata": ink[12:].T, "target": np.zeros((50, 12)), "testtarget": np.zeros((50, 8))},
    )
    with pytest.raises(UsageError, match=r"chardata\.mat must hold numbers from 0 to 1, got nan"):
        load_data("omniglot")


def test_caltech_names_a_file_with_labels_out_of_range(folder: Path) -> None:
    packed: dict[str, Any] = {f"{split}_packed": np.packbits(bits, axis=1) for split, bits in BITS.items()}
    packed |= {f"{split}_labels": np.full(len(bits), 101) for split, bits in BITS.items()}
    np.savez(folder / "caltech101_silhouettes.npz", **packed)
    with pytest.raises(UsageError, match=r"silhouettes\.npz must hold whole numbers from 0 to 100, got 101"):
        load_data("caltech101_silhouettes")


def write_archives(folder: Path) -> None:
    packed = {f"{split}_packed": np.packbits(bits, axis=1) for split, bits in BITS.items()}
    labels = {f"{split}_labels": np.arange(len(bits)) for split, bits in BITS.items()}
    rows = np.arange(20)
    np.savez(folder / "binarized_mnist.npz", **packed)  # type: ignore[arg-type]  # numpy's stubs
    np.savez(folder / "caltech101_silhouettes.npz", **packed, **labels)  # type: ignore[arg-type]
    np.savez(folder / "frey_faces.npz", images=FACES)
    np.savez(folder / "omniglot28.npz", images=GREY, alphabet=rows, train_index=rows[:12], test_index=rows[12:])
    np.savez(folder / "olivetti_faces.npz", images=PHOTOGRAPHS)
    colours, kinds = np.zeros((12, 32, 32, 3), np.uint8), np.arange(12) % 10
    np.savez(
        folder / "cifar10_subset.npz",
        train_images=colours[:8],
        train_labels=kinds[:8],
        test_images=colours[8:],
        test_labels=kinds[8:],
    )
    (folder / "ap.dat").write_text("2 0:1 2:3\n1 1:2\n" * 30)
    (folder / "vocab.txt").write_text("one\ntwo\nthree\n")


FILES = {
    "ap.dat": "ap",
    "vocab.txt": "ap",
    "binarized_mnist.npz": "binarized_mnist",
    "caltech101_silhouettes.npz": "caltech101_silhouettes",
    "cifar10_subset.npz": "cifar10",
    "frey_faces.npz": "frey_faces",
    "olivetti_faces.npz": "faces",
    "omniglot28.npz": "omniglot",
    "train-images-idx3-ubyte.gz": "mnist",
    "t10k-labels-idx1-ubyte.gz": "mnist",
}


@pytest.mark.parametrize("name", FILES)
@generated(st.data())
def test_a_damaged_file_of_data_is_read_or_refused(folder: Path, name: str, data: st.DataObject) -> None:
    write_mnist(folder)
    write_archives(folder)
    content = bytearray((folder / name).read_bytes())
    unpacked = bytearray(gzip.decompress(content)) if name.endswith(".gz") and data.draw(st.booleans()) else None
    damaged = content if unpacked is None else unpacked
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1) | st.integers(0, 20), max_size=4)):
        damaged[place % len(damaged)] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.just(len(damaged)) | st.integers(0, len(damaged)))]
    (folder / name).write_bytes(damaged if unpacked is None else gzip.compress(damaged))
    options = {"num_valid": 4} if name.startswith(("train", "t10k")) else {}
    made_or_refused(lambda: load_data(FILES[name], **options))
