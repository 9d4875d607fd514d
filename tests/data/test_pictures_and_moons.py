"""Moons, faces, CIFAR-10 and stacked MNIST: what their rows are, from either format, and what is refused."""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import savemat

from ppgen.data import SPLITS, cifar10, faces, load_data, mnist
from ppgen.data.assemble import Part
from ppgen.errors import UsageError

RANDOM = np.random.RandomState(0)
FACES = RANDOM.randint(0, 256, (16, 64, 64)).astype(np.uint8)
PICTURES = RANDOM.randint(0, 256, (34, 3, 32, 32)).astype(np.uint8)
KINDS = (np.arange(34) % 10).astype(np.uint8)
ORIGINAL, SUBSET = "cifar-10-binary.tar.gz", "cifar10_subset.npz"
Require = Callable[[str], Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files, and sizes small enough to fill it."""
    monkeypatch.setenv("PPGEN_DATA", str(tmp_path))
    monkeypatch.setattr(faces, "PEOPLE", (4, 2, 2))
    monkeypatch.setattr(faces, "EACH", 2)
    monkeypatch.setattr(cifar10, "ROWS", {ORIGINAL: (30, 4), SUBSET: (30, 4)})
    return tmp_path


def write_subset(folder: Path, **change: Any) -> None:
    last = PICTURES.transpose(0, 2, 3, 1)
    arrays = {
        "train_images": last[:30],
        "train_labels": KINDS[:30],
        "test_images": last[30:],
        "test_labels": KINDS[30:],
    }
    np.savez(folder / SUBSET, **(arrays | change))


def write_original(folder: Path, leave: int = 0, more: bytes = b"") -> None:
    rows = np.concatenate([KINDS[:, None], PICTURES.reshape(34, -1)], 1)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    with tarfile.open(folder / ORIGINAL, "w:gz") as archive:
        for name, part in zip(names[: len(names) - leave], [*np.split(rows[:30], 5), rows[30:]], strict=False):
            content = part.tobytes() + more
            facts = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            facts.size = len(content)
            archive.addfile(facts, io.BytesIO(content))


def test_cifar10_is_the_same_from_both_formats_and_the_original_comes_first(folder: Path) -> None:
    write_original(folder)
    original = load_data("cifar10", labels=True)
    write_subset(folder, train_images=np.zeros((30, 32, 32, 3), np.uint8))
    assert load_data("cifar10", labels=True).sha256 == original.sha256
    (folder / ORIGINAL).unlink()
    write_subset(folder)
    assert load_data("cifar10", labels=True).sha256 == original.sha256
    for split, rows in (("train", slice(27)), ("valid", slice(27, 30)), ("test", slice(30, 34))):
        x, y = original.split(split)
        assert np.array_equal((x * 255).round().numpy(), PICTURES[rows].reshape(-1, 3072))
        assert y.tolist() == KINDS[rows].tolist()
    assert (original.spec.image_shape, original.spec.levels, original.spec.num_classes) == ((3, 32, 32), 256, 10)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"leave": 1}, r"cifar-10-binary\.tar\.gz must be the binary version of CIFAR-10.*test_batch\.bin.*not found"),
        ({"more": b"1"}, r"data_batch_1\.bin holds more, expected 6 rows of 3073 bytes"),
    ],
)
def test_cifar10_names_an_archive_with_other_files(folder: Path, written: dict[str, Any], sentence: str) -> None:
    write_original(folder, **written)
    with pytest.raises(UsageError, match=sentence):
        load_data("cifar10")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train_labels": np.full(30, 10)}, "whole numbers from 0 to 9, got 10"),
        ({"test_images": np.full((4, 32, 32, 3), np.nan)}, "whole numbers from 0 to 255, got nan"),
        ({"test_images": PICTURES[:4]}, r"an array of shape \(4, 32, 32, 3\), got \(4, 3, 32, 32\)"),
    ],
)
def test_cifar10_names_a_subset_with_wrong_numbers(folder: Path, change: dict[str, Any], sentence: str) -> None:
    write_subset(folder, **change)
    with pytest.raises(UsageError, match=rf"cifar10_subset\.npz must hold {sentence}"):
        load_data("cifar10")


def test_a_pickled_cifar10_is_not_read(folder: Path) -> None:
    (folder / ORIGINAL).write_bytes(b"\x80\x04N.")
    with pytest.raises(UsageError, match=r"must be the binary version of CIFAR-10, but it cannot be read"):
        load_data("cifar10")


def test_faces_are_the_same_from_both_formats_and_nobody_is_in_two_parts(folder: Path) -> None:
    savemat(folder / "olivettifaces.mat", {"faces": np.stack([one.flatten(order="F") for one in FACES], 1)})
    original = load_data("faces")
    (folder / "olivettifaces.mat").unlink()
    np.savez(folder / "olivetti_faces.npz", images=FACES)
    assert load_data("faces").sha256 == original.sha256
    rows = {bytes(one.reshape(-1)): row for row, one in enumerate(FACES)}
    people = []
    for split in SPLITS:
        x = (original.split(split)[0] * 255).round().numpy().astype(np.uint8)
        people.append({rows[bytes(one)] // 2 for one in x})
    assert [len(part) for part in people] == [4, 2, 2]
    assert set.union(*people) == set(range(8))


def test_faces_name_a_file_of_another_shape(folder: Path) -> None:
    np.savez(folder / "olivetti_faces.npz", images=FACES[:5])
    with pytest.raises(UsageError, match=r"olivetti_faces\.npz must hold .* shape \(16, 64, 64\), got \(5, 64, 64\)"):
        load_data("faces")


@pytest.mark.parametrize(
    ("name", "file", "sizes", "sha256"),
    [
        (
            "faces",
            "olivetti_faces.npz",
            (300, 50, 50),
            "48b6d3e049b4160a50662fe68a0ea622565cdd5dc0a1fc9b76b799ff1caa1472",
        ),
        ("cifar10", SUBSET, (4500, 500, 1000), "2c9754956d5fdce1187ebce1710d5580af5a1160ed5c378e23699860c2951144"),
    ],
)
def test_real_pictures_never_change(
    name: str, file: str, sizes: tuple[int, ...], sha256: str, require_data: Require
) -> None:
    require_data(file)
    data = load_data(name)
    assert (tuple(len(data.split(split)[0]) for split in SPLITS), data.sha256) == (sizes, sha256)


def test_the_kinds_of_cifar10_are_about_as_many_of_each(require_data: Require) -> None:
    """Hypergeometric counts of 500 in 5,000 drawn from 50,000: four standard deviations, 81."""
    require_data(SUBSET)
    data = load_data("cifar10", labels=True)
    y = torch.cat([data.train[1], data.valid[1]])
    assert (torch.bincount(y, minlength=10) - 500).abs().max() < 81


def test_moons_lie_on_their_half_circles() -> None:
    data = load_data("moons", noise=0.0, labels=True, num_data=300)
    (x, y), (valid, _), (test, _) = data.train, data.valid, data.test
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.5]])
    assert (len(x), len(valid), len(test)) == (300, 30, 30)
    torch.testing.assert_close((x - centres[y]).norm(dim=1), torch.ones(300))
    assert (torch.where(y == 0, x[:, 1], 0.5 - x[:, 1]) > -1e-6).all()
    assert data.spec.num_classes == 2


def test_the_noise_of_moons_is_that_asked_for() -> None:
    """Across the circle, 10,000 rows: the deviation is known to 0.7 percent, and curvature adds less than one."""
    x, y = load_data("moons", noise=0.02, labels=True).train
    inside = (x[:, 0] - y).abs() < 0.7  # away from the ends of the half circle
    across = (x - torch.tensor([[0.0, 0.0], [1.0, 0.5]])[y]).norm(dim=1)[inside] - 1
    assert across.std().item() == pytest.approx(0.02, rel=0.04)


def test_moons_are_those_of_their_seed() -> None:
    first, same, other = (load_data("moons", num_data=50, seed=seed) for seed in (3, 3, 4))
    assert first.sha256 == same.sha256 != other.sha256
    with pytest.raises(UsageError, match="noise must be"):
        load_data("moons", noise=-1.0)


def stacked(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """Stacked pictures of twenty digits whose ink tells which digit each is and of which split."""

    def part(which: str, labels: bool) -> Any:
        y: NDArray[Any] = np.arange(20) % 10
        ink = (y + 1 + (100 if which == "t10k" else 0)) / 255
        return Part(np.repeat(ink[:, None], 784, 1).astype(np.float32), y)

    monkeypatch.setattr(mnist, "_part", part)
    monkeypatch.setattr(mnist, "ROWS", {"train": 20, "t10k": 20})
    monkeypatch.setattr("ppgen.data.stacked_mnist.mnist", lambda **more: mnist.mnist(num_valid=10, **more))
    return load_data("stacked_mnist", labels=True, **options)


def test_a_stacked_picture_shows_the_digits_of_its_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    data = stacked(monkeypatch, num_data=4000)
    assert (data.spec.image_shape, data.spec.num_classes, data.spec.num_data) == ((3, 28, 28), 1000, 4000)
    for split, shift in (("train", 0), ("valid", 0), ("test", 100)):
        x, y = data.split(split)
        ink = (x.reshape(-1, 3, 784)[:, :, 0] * 255).round().long() - 1 - shift
        assert torch.equal(ink @ torch.tensor([100, 10, 1]), y)
    assert len(data.train[1].unique()) > 950  # 982 of 1,000 are expected of 4,000 even draws
    first, other = (stacked(monkeypatch, num_data=20, seed=seed) for seed in (0, 1))
    assert first.sha256 != other.sha256


def test_digits_are_put_together_independently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Correlations of 4,000 pairs of digits: five standard errors."""
    y = stacked(monkeypatch, num_data=4000).train[1]
    digits = torch.stack([y // 100, y // 10 % 10, y % 10]).double()
    assert (torch.corrcoef(digits) - torch.eye(3)).abs().max() < 5 / math.sqrt(4000)
