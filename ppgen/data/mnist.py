"""MNIST: 70,000 handwritten digits, 28 x 28 pixels, 256 grey levels, binarized anew at each presentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppgen.arguments import Count, Seed, at_most
from ppgen.data.assemble import Part, assemble_images, permutation
from ppgen.data.dataset import Dataset
from ppgen.data.download import Remote, find, obtain
from ppgen.data.formats import check_rows, read_idx
from ppgen.data.labels import with_few_labels
from ppgen.registry import register_data

__all__ = ["mnist"]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
ROWS = {"train": 60_000, "t10k": 10_000}


@register_data(
    "mnist",
    summary="handwritten digits, 28 x 28, binarized anew at each presentation",
    reference="LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition",
    year=1998,
    link="https://doi.org/10.1109/5.726791",
    tags=("images", "binary", "labels"),
)
def mnist(
    *,
    binarize: str = "dynamic",
    labels: bool = False,
    num_valid: Count = 10_000,
    num_data: Count | None = None,
    num_labelled: Count | None = None,
    label_seed: Seed = 0,
    label_copies: Count = 1,
) -> Dataset:
    """The first 60,000 - ``num_valid`` training pictures train, the last ``num_valid`` validate; 10,000 test.

    The test file's first half is cleaner than its second, so that the test rows are put in the fixed order
    ``RandomState(0).permutation(10000)``: then any first n of them are a fair sample.

    Args:
        binarize: ``"dynamic"`` (probability = grey / 255), ``"threshold"`` (above 1/2), ``"none"``
            (256 grey levels) or ``"dequantise"`` (real: (level + u) / 256, u ~ U[0, 1) anew each time).
        labels: batches are (x, y), y the digit.
        num_valid: how many of the training pictures to validate on.
        num_data: train on the first so many of them alone; None: on all.
        num_labelled: how many training pictures keep their label, each class as many; those of the others are -1.
        label_seed: of the choice of these.
        label_copies: how often each of these stands in the training data.
    """
    at_most("num_valid", num_valid, ROWS["train"] - 1)
    at_most("num_data", num_data or 1, ROWS["train"] - num_valid)
    train, test = _part("train", labels), _part("t10k", labels)
    return assemble_images(
        "mnist",
        with_few_labels(train[:-num_valid][:num_data], labels, num_labelled, label_seed, label_copies),
        train[-num_valid:],
        test[permutation(len(test.x), 0)],
        binarize=binarize,
        image_shape=(28, 28),
        levels=256,
        num_classes=10 if labels else None,
    )


def _part(which: str, labels: bool) -> Part:
    images = _read(f"{which}-images-idx3-ubyte", (ROWS[which], 28, 28))
    x = images.reshape(len(images), 784).astype(np.float32)  # (N, 784)
    x /= 255
    return Part(x, _read(f"{which}-labels-idx1-ubyte", (ROWS[which],)) if labels else None)


def _read(stem: str, shape: tuple[int, ...]) -> NDArray[Any]:
    file = f"{stem}.gz"
    remote = Remote(file, tuple(mirror + file for mirror in MIRRORS), CHECKSUMS[file])
    path = find(file, stem) or obtain(remote)
    return check_rows(path, read_idx(path), shape)
