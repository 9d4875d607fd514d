"""OMNIGLOT: handwritten characters of 50 alphabets, 28 x 28, binarized anew at each presentation."""

from __future__ import annotations

import numpy as np

from ppgen.data.assemble import Part, assemble_images, permutation
from ppgen.data.dataset import Dataset
from ppgen.data.download import PLACE, find
from ppgen.data.formats import check_numbers, check_rows, read_npz, upright
from ppgen.data.matlab import read_mat
from ppgen.errors import UsageError
from ppgen.registry import register_data

__all__ = ["omniglot"]

NUM_ALPHABETS = 50
NUM_VALID = 1345
ROWS = {"omniglot28.npz": (24_345, 8_115), "chardata.mat": (24_345, 8_070)}
PAGE = "https://github.com/yburda/iwae/tree/master/datasets/OMNIGLOT"


@register_data(
    "omniglot",
    summary="handwritten characters of 50 alphabets, 28 x 28, binarized anew at each presentation",
    reference="Lake et al., Human-level concept learning through probabilistic program induction",
    year=2015,
    link="https://doi.org/10.1126/science.aab3050",
    tags=("images", "binary", "labels"),
)
def omniglot(*, binarize: str = "dynamic", labels: bool = False) -> Dataset:
    """The importance weighted autoencoder's split: 23,000 train, 1,345 valid, 8,070 test rows.

    They are in ``chardata.mat``, which is read where PPGEN_DATA holds it: it has no published checksum, so it
    is not downloaded. Else ``omniglot28.npz`` is read: another downsampling and random split of the same
    drawings, with 8,115 test rows; likelihoods on it compare with published ones in order of magnitude only.
    Rows of ``chardata.mat`` are put in fixed orders, ``RandomState(0).permutation(n)`` of each part; valid is
    the end of train.

    Args:
        binarize: ``"dynamic"`` (probability = ink) or ``"threshold"`` (more ink than 1/2).
        labels: batches are (x, y), y = 0..49 the alphabet.

    Raises:
        UsageError: PPGEN_DATA holds neither file.
    """
    train, test = _chardata() or _archive() or _missing()
    return assemble_images(
        "omniglot",
        train[:-NUM_VALID],
        train[-NUM_VALID:],
        test,
        binarize=binarize,
        image_shape=(28, 28),
        num_classes=NUM_ALPHABETS if labels else None,
    )


def _chardata() -> tuple[Part, Part] | None:
    """Train and test of the MATLAB file: one column a picture, itself column-major, intensities in [0, 1]."""
    path = find("chardata.mat")
    if path is None:
        return None
    parts = []
    names = (("data", "target"), ("testdata", "testtarget"))
    for rows, (images, alphabets) in zip(ROWS[path.name], names, strict=True):
        x, y = read_mat(path, [images, alphabets])
        check_numbers(path, check_rows(path, x, (784, rows)), 1, whole=False)
        check_numbers(path, check_rows(path, y, (NUM_ALPHABETS, rows)), 1)
        parts.append(Part(upright(x.T).astype(np.float32), y.argmax(0))[permutation(rows, 0)])
    return parts[0], parts[1]


def _archive() -> tuple[Part, Part] | None:
    """Train and test of the archive: ink 0..255 and index arrays, which are already in random order."""
    path = find("omniglot28.npz")
    if path is None:
        return None
    images, alphabet, train, test = read_npz(path, ["images", "alphabet", "train_index", "test_index"])
    rows = ROWS[path.name]
    check_numbers(path, check_rows(path, images, (sum(rows), 28, 28)), 255)
    check_numbers(path, check_rows(path, alphabet, (sum(rows),)), NUM_ALPHABETS - 1)
    everything = Part(images.reshape(-1, 784).astype(np.float32) / 255, alphabet)
    train, test = (
        check_numbers(path, check_rows(path, index, (num,)), sum(rows) - 1).astype(np.intp)
        for index, num in zip((train, test), rows, strict=True)
    )
    return everything[train], everything[test]


def _missing() -> tuple[Part, Part]:
    raise UsageError(
        f"data set 'omniglot' needs chardata.mat (from {PAGE}) or omniglot28.npz, neither of which is "
        f"downloaded, for want of a published checksum: {PLACE}."
    )
