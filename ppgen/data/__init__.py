"""Data sets: what one datum is, loaders by name, and data sets of one's own tensors. See ``docs/data.md``."""

from ppgen.data.binarized_mnist import binarized_mnist
from ppgen.data.caltech101_silhouettes import caltech101_silhouettes
from ppgen.data.dataset import SPLITS, Dataset
from ppgen.data.digits import digits
from ppgen.data.frey_faces import frey_faces
from ppgen.data.linear_gaussian import LinearGaussianTruth, linear_gaussian, linear_gaussian_truth
from ppgen.data.load import load_data, loader_options
from ppgen.data.mnist import mnist
from ppgen.data.omniglot import omniglot
from ppgen.data.spec import DataSpec, Observation
from ppgen.data.user import dataset_from

__all__ = [
    "SPLITS",
    "DataSpec",
    "Dataset",
    "LinearGaussianTruth",
    "Observation",
    "binarized_mnist",
    "caltech101_silhouettes",
    "dataset_from",
    "digits",
    "frey_faces",
    "linear_gaussian",
    "linear_gaussian_truth",
    "load_data",
    "loader_options",
    "mnist",
    "omniglot",
]
