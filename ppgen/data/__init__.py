"""Data sets: what one datum is, loaders by name, and data sets of one's own tensors.

To add one: 1. write a module with a function of keyword-only options that returns a ``Dataset``
(:func:`ppgen.data.assemble.assemble` makes it of arrays, :func:`ppgen.data.download.obtain` finds files or
downloads them, :mod:`ppgen.data.formats` reads them); 2. decorate it with ``register_data``; 3. import the
module here. An option ``labels`` makes batches (x, y).
"""

from ppgen.data import (
    affine_moons,
    ap,
    arrays,
    bars,
    binarized_mnist,
    caltech101_silhouettes,
    cifar10,
    digits,
    documents,
    faces,
    frey_faces,
    images,
    linear_gaussian,
    mixed_sources,
    mixtures,
    mnist,
    moons,
    omniglot,
    patches,
    pydoc,
    stacked_mnist,
    table,
    texts,
    translated_digits,
    twenty_news,
    two_sets,
)
from ppgen.data.bars import bar_topics
from ppgen.data.dataset import SPLITS, Dataset, Split
from ppgen.data.disk_files import on_disk
from ppgen.data.disk_rows import DiskRows
from ppgen.data.given import as_dataset
from ppgen.data.linear_gaussian import LinearGaussianTruth, linear_gaussian_truth
from ppgen.data.load import load_data, named_loader
from ppgen.data.scaling import Scaling
from ppgen.data.sparse import SparseRows
from ppgen.data.spec import DataSpec, Observation
from ppgen.data.two_sets import translation_data
from ppgen.data.user import dataset_from

__all__ = [
    "SPLITS",
    "DataSpec",
    "Dataset",
    "DiskRows",
    "LinearGaussianTruth",
    "Observation",
    "Scaling",
    "SparseRows",
    "Split",
    "affine_moons",
    "ap",
    "arrays",
    "as_dataset",
    "bar_topics",
    "bars",
    "binarized_mnist",
    "caltech101_silhouettes",
    "cifar10",
    "dataset_from",
    "digits",
    "documents",
    "faces",
    "frey_faces",
    "images",
    "linear_gaussian",
    "linear_gaussian_truth",
    "load_data",
    "mixed_sources",
    "mixtures",
    "mnist",
    "moons",
    "named_loader",
    "omniglot",
    "on_disk",
    "patches",
    "pydoc",
    "stacked_mnist",
    "table",
    "texts",
    "translated_digits",
    "translation_data",
    "twenty_news",
    "two_sets",
]
