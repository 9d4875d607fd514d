"""Frey faces: 1,965 frames of a video of one face, 28 x 20 pixels with 256 grey levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppgen.data.assemble import Part, assemble, permutation
from ppgen.data.dataset import Dataset
from ppgen.data.download import Remote, find, obtain
from ppgen.data.formats import check_numbers, check_rows, read_npz
from ppgen.data.matlab import read_mat
from ppgen.registry import register_data

__all__ = ["frey_faces"]

ROWS = (1565, 200, 200)
REMOTE = Remote(
    "frey_rawface.mat",
    ("https://cs.nyu.edu/~roweis/data/frey_rawface.mat",),
    "md5:5aeb024d42b8a6091f30e5eb18c8a48d",  # as another loader gives it; the page gives none, and nobody a sha256
)


@register_data(
    "frey_faces",
    summary="frames of a video of one face, 28 x 20, 256 grey levels",
    reference="Kingma and Welling, Auto-encoding variational Bayes",
    year=2014,
    link="https://arxiv.org/abs/1312.6114",
    tags=("images", "quantised"),
)
def frey_faces() -> Dataset:
    """1,565 train, 200 valid, 200 test rows: the frames in the order of ``RandomState(0).permutation(1965)``.

    Neighbouring frames are alike and the split is random, as in the literature: test frames have near twins
    in train. A download is checked by its md5, the only checksum that is known of it.
    """
    path, images = _images()
    check_numbers(path, check_rows(path, images, (sum(ROWS), 28, 20)), 255)
    faces = Part(images.reshape(len(images), 560).astype(np.float32) / 255)[permutation(len(images), 0)]
    first, second = ROWS[0], ROWS[0] + ROWS[1]
    parts = (faces[:first], faces[first:second], faces[second:])
    return assemble("frey_faces", *parts, observation="quantised", image_shape=(28, 20), levels=256)


def _images() -> tuple[Path, NDArray[Any]]:
    """(1965, 28, 20) bytes, from the archive or from the original MATLAB file, which has a column a frame."""
    path = find("frey_faces.npz")
    if path is not None:
        return path, read_npz(path, ["images"])[0]
    path = obtain(REMOTE)
    columns = check_rows(path, read_mat(path, ["ff"])[0], (560, sum(ROWS)))
    return path, columns.T.reshape(-1, 28, 20)
