"""The real files, where they are: sizes, published means, fair order, and data that never changes."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ppgen.data import SPLITS, load_data

MNIST_FILE = "train-images-idx3-ubyte.gz"
CASES = {
    "mnist": (
        MNIST_FILE,
        (50_000, 10_000, 10_000),
        "80b8f2ffe2cf098604ccaad5995fc4b1b141e3130a88a59ce31ea362c548c6ef",
    ),
    "binarized_mnist": (
        "binarized_mnist.npz",
        (50_000, 10_000, 10_000),
        "23057a780762160b15b051c2c2f87b114259fcb5a3e083affcfff8832fa74e85",
    ),
    "caltech101_silhouettes": (
        "caltech101_silhouettes.npz",
        (4100, 2264, 2307),
        "b64bf586718385eaf3e793dd914a0788afe2aeb8602d535cbde6e4d22e87516d",
    ),
    "frey_faces": (
        "frey_faces.npz",
        (1565, 200, 200),
        "045e1b8a6f0f764b5e540002e597583619b4a0d243ad2ca5bb825f5aac664111",
    ),
    "omniglot": (
        "omniglot28.npz",
        (23_000, 1345, 8115),
        "2a019a56fd04647a748d74ac5549a406a7ad78adfcd7d3f6a4695fe479dbdacd",
    ),
}
Require = Callable[[str], Path]


@pytest.mark.parametrize("name", CASES)
def test_real_data_never_changes(name: str, require_data: Require) -> None:
    file, sizes, sha256 = CASES[name]
    require_data(file)
    data = load_data(name)
    assert tuple(len(data.split(split)[0]) for split in SPLITS) == sizes
    assert data.sha256 == sha256


def test_mnist_loads_in_three_seconds(require_data: Require) -> None:
    require_data(MNIST_FILE)
    start = time.process_time()
    load_data("mnist")
    assert time.process_time() - start < 3


def test_mnist_has_the_published_mean(require_data: Require) -> None:
    require_data(MNIST_FILE)
    data = load_data("mnist", binarize="none")
    everything = torch.cat([data.train[0], data.valid[0]]).double()
    assert everything.mean().item() == pytest.approx(0.13066, abs=5e-6)
    assert everything.std().item() == pytest.approx(0.30811, abs=5e-6)


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("binarized_mnist", (0.130562, 0.131127, 0.132512)),
        ("caltech101_silhouettes", (0.551055, 0.535959, 0.539015)),
    ],
)
def test_means_are_the_recorded_ones(name: str, means: tuple[float, ...], require_data: Require) -> None:
    require_data(CASES[name][0])
    data = load_data(name)
    found = [data.split(split)[0].double().mean().item() for split in SPLITS]
    assert found == pytest.approx(means, abs=5e-7)


def test_the_first_test_rows_of_binarized_mnist_are_a_fair_sample(require_data: Require) -> None:
    require_data("binarized_mnist.npz")
    ink = load_data("binarized_mnist").test[0].sum(1)
    z = (ink[:1000].mean() - ink.mean()) / (ink.std() / 1000**0.5)
    assert abs(z) < 3  # grouped by digit, the first 1000 are zeros, and z is over 40


@pytest.mark.parametrize(("name", "num_classes"), [("mnist", 10), ("caltech101_silhouettes", 101), ("omniglot", 50)])
def test_every_class_is_in_train_and_test(name: str, num_classes: int, require_data: Require) -> None:
    require_data(CASES[name][0])
    data = load_data(name, labels=True)
    assert data.spec.num_classes == num_classes
    for split in ("train", "test"):
        assert set(data.split(split)[1].tolist()) == set(range(num_classes))
