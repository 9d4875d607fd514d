"""Static binarized MNIST: one fixed draw of every picture, on which most likelihoods are published."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ppgen.data.assemble import Part, assemble, permutation
from ppgen.data.dataset import Dataset
from ppgen.data.download import Remote, find, obtain
from ppgen.data.formats import check_rows, read_amat, read_npz, unpack_bits
from ppgen.registry import register_data

__all__ = ["binarized_mnist"]

ROWS = {"train": 50_000, "valid": 10_000, "test": 10_000}
SITE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
CHECKSUMS = {
    "train": "sha256:ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "valid": "sha256:1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "test": "sha256:e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}


@register_data(
    "binarized_mnist",
    summary="handwritten digits, 28 x 28, binarized once and for all",
    reference="Larochelle and Murray, The neural autoregressive distribution estimator",
    year=2011,
    link="https://proceedings.mlr.press/v15/larochelle11a.html",
    tags=("images", "binary"),
)
def binarized_mnist() -> Dataset:
    """50,000 / 10,000 / 10,000 rows as published, without labels.

    The published test rows are grouped by digit; they are put in the fixed order
    ``RandomState(0).permutation(10000)``, so that any first n of them are a fair sample.
    """
    train, valid, test = (Part(_bits(split)) for split in ROWS)
    test = test[permutation(len(test.x), 0)]
    return assemble("binarized_mnist", train, valid, test, observation="binary", image_shape=(28, 28))


def _bits(split: str) -> NDArray[Any]:
    """(N, 784) zeros and ones, from the packed archive or from the original text file."""
    packed = find("binarized_mnist.npz")
    if packed is not None:
        bits = unpack_bits(packed, read_npz(packed, [f"{split}_packed"])[0], 784)
        return check_rows(packed, bits, (ROWS[split], 784))
    file = f"binarized_mnist_{split}.amat"
    path = obtain(Remote(file, (SITE + file,), CHECKSUMS[split]))
    return check_rows(path, read_amat(path, 784), (ROWS[split], 784))
