"""Caltech 101 silhouettes: 8,671 outlines of objects of 101 kinds, 28 x 28 binary pixels."""

from __future__ import annotations

from ppgen.data.assemble import Part, assemble
from ppgen.data.dataset import Dataset
from ppgen.data.download import Remote, find, obtain
from ppgen.data.formats import check_numbers, check_rows, read_npz, unpack_bits, upright
from ppgen.data.matlab import read_mat
from ppgen.registry import register_data

__all__ = ["caltech101_silhouettes"]

NUM_CLASSES = 101
ROWS = {"train": 4100, "valid": 2264, "test": 2307}
REMOTE = Remote(
    "caltech101_silhouettes_28_split1.mat",
    ("https://people.cs.umass.edu/~marlin/data/caltech101_silhouettes_28_split1.mat",),
    "md5:4483e9c14b188fd09937f9ea6f9ea777",  # nobody publishes a sha256
)


@register_data(
    "caltech101_silhouettes",
    summary="silhouettes of objects of 101 kinds, 28 x 28, binary (1 is the background)",
    reference="Marlin et al., Inductive principles for restricted Boltzmann machine learning",
    year=2010,
    link="https://proceedings.mlr.press/v9/marlin10a.html",
    tags=("images", "binary", "labels"),
)
def caltech101_silhouettes(*, labels: bool = False) -> Dataset:
    """Split 1 as published: 4,100 train, 2,264 valid, 2,307 test rows, already mixed over the kinds.

    A download is checked by its md5, the only checksum that is known of it.

    Args:
        labels: batches are (x, y), y = 0..100 the kind.
    """
    train, valid, test = (_part(split) for split in ROWS)
    return assemble(
        "caltech101_silhouettes",
        train,
        valid,
        test,
        observation="binary",
        image_shape=(28, 28),
        num_classes=NUM_CLASSES if labels else None,
    )


def _part(split: str) -> Part:
    """One split from the packed archive, or from the original MATLAB file."""
    path = find("caltech101_silhouettes.npz")
    if path is not None:
        packed, y = read_npz(path, [f"{split}_packed", f"{split}_labels"])
        x = unpack_bits(path, packed, 784)
    else:
        path = obtain(REMOTE)
        part = "val" if split == "valid" else split
        images, kinds = read_mat(path, [f"{part}_data", f"{part}_labels"])
        x = upright(check_rows(path, images, (ROWS[split], 784)))
        y = kinds.reshape(-1) - 1  # the original counts from 1
    check_numbers(path, check_rows(path, y, (ROWS[split],)), NUM_CLASSES - 1)
    return Part(check_rows(path, x, (ROWS[split], 784)), y)
