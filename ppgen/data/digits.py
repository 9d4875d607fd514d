"""scikit-learn's handwritten digits: 1,797 pictures, 8 x 8 pixels, 17 grey levels; nothing to download."""

from __future__ import annotations

import numpy as np

from ppgen.arguments import Count, Seed
from ppgen.data.assemble import Part, assemble_images, permutation
from ppgen.data.dataset import Dataset
from ppgen.data.labels import with_few_labels
from ppgen.registry import register_data

__all__ = ["digits"]

LEVELS = 17
NUM_VALID, NUM_TEST = 200, 300


@register_data(
    "digits",
    summary="handwritten digits, 8 x 8, from scikit-learn: no download",
    reference="Alpaydin and Kaynak, Cascading classifiers",
    year=1998,
    link="https://doi.org/10.24432/C50P49",
    tags=("images", "binary", "labels", "embedded"),
)
def digits(
    *,
    binarize: str = "dynamic",
    labels: bool = False,
    num_labelled: Count | None = None,
    label_seed: Seed = 0,
    label_copies: Count = 1,
) -> Dataset:
    """1,297 train, 200 valid and 300 test rows of ``RandomState(0).permutation(1797)``, in this order.

    Args:
        binarize: ``"dynamic"`` (probability = grey / 16), ``"threshold"`` (above 1/2), ``"none"``
            (17 grey levels) or ``"dequantise"`` (real: (level + u) / 17, u ~ U[0, 1) anew each time).
        labels: batches are (x, y), y the digit.
        num_labelled: how many training pictures keep their label, each class as many; those of the others are -1.
        label_seed: of the choice of these.
        label_copies: how often each of these stands in the training data.
    """
    from sklearn.datasets import load_digits

    grey, digit = load_digits(return_X_y=True)
    everything = Part((grey / (LEVELS - 1)).astype(np.float32), digit)[permutation(len(grey), 0)]
    end, start = len(grey) - NUM_TEST, len(grey) - NUM_TEST - NUM_VALID
    return assemble_images(
        "digits",
        with_few_labels(everything[:start], labels, num_labelled, label_seed, label_copies),
        everything[start:end],
        everything[end:],
        binarize=binarize,
        image_shape=(8, 8),
        levels=LEVELS,
        num_classes=10 if labels else None,
    )
