"""CIFAR-10: 60,000 colour photographs of ten kinds of things, 3 x 32 x 32, 256 levels.

The original files are those of the binary version; the version for Python is pickled, and is not read.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppgen.data.assemble import Part, assemble
from ppgen.data.dataset import Dataset
from ppgen.data.download import Remote, find, obtain
from ppgen.data.formats import check_numbers, check_rows, read_npz
from ppgen.data.reading import reading
from ppgen.registry import register_data

__all__ = ["cifar10"]

REMOTE = Remote(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
SUBSET = "cifar10_subset.npz"
ROWS = {REMOTE.file: (50_000, 10_000), SUBSET: (5_000, 1_000)}
FILES = ([f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)], ["cifar-10-batches-bin/test_batch.bin"])
NUM_CLASSES = 10
PIXELS = 3 * 32 * 32


@register_data(
    "cifar10",
    summary="colour photographs of ten kinds of things, 3 x 32 x 32, 256 levels",
    reference="Krizhevsky, Learning multiple layers of features from tiny images",
    year=2009,
    link="https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf",
    tags=("images", "quantised", "labels"),
)
def cifar10(*, labels: bool = False) -> Dataset:
    """45,000 train, 5,000 valid, 10,000 test rows; the last tenth of the training files validates.

    Where PPGEN_DATA holds ``cifar10_subset.npz`` and not the original ``cifar-10-binary.tar.gz``, the subset is read:
    the first 5,000 training pictures (4,500, and 500 to validate) and the first 1,000 of test, of mixed kinds; numbers
    on it are not comparable with published ones. A picture is its three colours in turn, each row-major.

    Args:
        labels: batches are (x, y), y = 0..9 the kind.
    """
    train, test = _parts()
    start = len(train.x) - len(train.x) // 10
    classes = NUM_CLASSES if labels else None
    parts = (train[:start], train[start:], test)
    return assemble(
        "cifar10", *parts, observation="quantised", image_shape=(3, 32, 32), levels=256, num_classes=classes
    )


def _parts() -> tuple[Part, Part]:
    path = find(REMOTE.file, SUBSET) or obtain(REMOTE)
    arrays = _subset(path) if path.name == SUBSET else _original(path)
    train, test = (_part(path, images, y, rows) for (images, y), rows in zip(arrays, ROWS[path.name], strict=True))
    return train, test


def _part(path: Path, images: NDArray[Any], y: NDArray[Any], rows: int) -> Part:
    """Checked intensities in [0, 1], (rows, 3 * 32 * 32), and labels."""
    check_numbers(path, check_rows(path, images, (rows, 3, 32, 32)), 255)
    check_numbers(path, check_rows(path, y, (rows,)), NUM_CLASSES - 1)
    x = images.reshape(rows, PIXELS).astype(np.float32)
    x /= 255
    return Part(x, y)


def _subset(path: Path) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Pictures (N, 3, 32, 32) and labels (N,) of train and test, from those whose colours are last."""
    train, y, test, y_test = read_npz(path, [f"{s}_{what}" for s in ("train", "test") for what in ("images", "labels")])
    return [
        (check_rows(path, x, (rows, 32, 32, 3)).transpose(0, 3, 1, 2), digits)
        for x, digits, rows in zip((train, test), (y, y_test), ROWS[SUBSET], strict=True)
    ]


def _original(path: Path) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The same of the original files: a row is a byte of label, then the picture's, colour by colour."""
    found = []
    with reading(path, "the binary version of CIFAR-10"), tarfile.open(path, "r:gz") as archive:
        for names, rows in zip(FILES, ROWS[REMOTE.file], strict=True):
            content = b"".join(_member(archive, name, rows // len(names)) for name in names)
            records = np.frombuffer(content, np.uint8).reshape(rows, 1 + PIXELS)
            found.append((records[:, 1:].reshape(rows, 3, 32, 32), records[:, 0]))
    return found


def _member(archive: tarfile.TarFile, name: str, rows: int) -> bytes:
    size = rows * (1 + PIXELS)
    file = archive.extractfile(name)
    content = b"" if file is None else file.read(size + 1)
    if len(content) != size:
        came = "more" if len(content) > size else f"{len(content)} bytes"
        raise ValueError(f"{name} holds {came}, expected {rows} rows of {1 + PIXELS} bytes")
    return content
