"""Olivetti faces: 400 photographs of 40 people, ten of each, 64 x 64 pixels with 256 grey levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ppgen.data.assemble import Part, assemble_images, permutation
from ppgen.data.dataset import Dataset
from ppgen.data.download import Remote, find, obtain
from ppgen.data.formats import check_numbers, check_rows, read_npz
from ppgen.data.matlab import read_mat
from ppgen.registry import register_data

__all__ = ["faces"]

PEOPLE = (30, 5, 5)
EACH = 10
REMOTE = Remote(
    "olivettifaces.mat",
    ("https://ndownloader.figshare.com/files/5976027", "https://cs.nyu.edu/~roweis/data/olivettifaces.mat"),
    "sha256:b612fb967f2dc77c9c62d3e1266e0c73d5fca46a4b8906c18e454d41af987794",  # scikit-learn's
)


@register_data(
    "faces",
    summary="Olivetti faces: ten photographs of each of 40 people, 64 x 64, 256 grey levels",
    reference="Samaria and Harter, Parameterisation of a stochastic model for human face identification",
    year=1994,
    link="https://doi.org/10.1109/ACV.1994.341300",
    tags=("images", "quantised"),
)
def faces(*, binarize: Literal["none", "dequantise"] = "none") -> Dataset:
    """300 train, 50 valid, 50 test rows: those of 30, 5 and 5 people, in the order of ``RandomState(0).permutation``.

    Nobody in valid or test is in train. The people are permuted, then the rows of each part.

    Args:
        binarize: ``"none"``: 256 grey levels; ``"dequantise"``: real, (level + u) / 256, u ~ U[0, 1) anew each time.
    """
    path, images = _images()
    check_numbers(path, check_rows(path, images, (EACH * sum(PEOPLE), 64, 64)), 255)
    x = (images.reshape(len(images), 4096).astype(np.float32) / 255).reshape(-1, EACH, 4096)[
        permutation(sum(PEOPLE), 0)
    ]
    parts = (part.reshape(-1, 4096) for part in np.split(x, np.cumsum(PEOPLE)[:-1]))
    train, valid, test = (Part(part)[permutation(len(part), 0)] for part in parts)
    return assemble_images("faces", train, valid, test, binarize=binarize, image_shape=(64, 64), levels=256)


def _images() -> tuple[Path, NDArray[Any]]:
    """(400, 64, 64) bytes, from the archive or from the original MATLAB file, a column-major picture in each column."""
    path = find("olivetti_faces.npz")
    if path is not None:
        return path, read_npz(path, ["images"])[0]
    path = obtain(REMOTE)
    columns = check_rows(path, read_mat(path, ["faces"])[0], (4096, EACH * sum(PEOPLE)))
    return path, columns.T.reshape(-1, 64, 64).transpose(0, 2, 1)
