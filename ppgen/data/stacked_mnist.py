"""Stacked MNIST: three digits as the colours of one picture, 3 x 28 x 28, of which there are a thousand kinds.

    x = (a, b, c),  a, b, c drawn from MNIST uniformly and independently,        mode = 100 y_a + 10 y_b + y_c

The modes are nearly equally likely, as MNIST's digits are: a classifier of digits tells of a sample which it shows, so
that what a generator leaves out can be counted.

Unrolled Generative Adversarial Networks, Metz, Poole, Pfau and Sohl-Dickstein, 2017, section 3.3.1.
"""

from __future__ import annotations

import numpy as np

from ppgen.arguments import Count, Seed
from ppgen.data.assemble import Part, assemble_images
from ppgen.data.dataset import Dataset
from ppgen.data.mnist import mnist
from ppgen.registry import register_data

__all__ = ["stacked_mnist"]

NUM_MODES = 1000


@register_data(
    "stacked_mnist",
    summary="three of MNIST's digits as the colours of a picture, 3 x 28 x 28: a thousand modes",
    reference="Metz, Poole, Pfau and Sohl-Dickstein, Unrolled generative adversarial networks",
    year=2017,
    link="https://arxiv.org/abs/1611.02163",
    tags=("images", "quantised", "labels", "modes"),
)
def stacked_mnist(*, binarize: str = "none", labels: bool = False, num_data: Count = 50_000, seed: Seed = 0) -> Dataset:
    """``num_data`` pictures to train, a tenth as many to validate and test, of the digits of that split of ``mnist``.

    50,000 take 470 MB of memory.

    Args:
        binarize: as for ``mnist``: ``"dynamic"``, ``"threshold"``, ``"none"`` (256 grey levels) or ``"dequantise"``.
        labels: batches are (x, y), y = 0..999 the three digits, read as one number.
        num_data: the number of training pictures.
        seed: seeds which digits are put together.
    """
    digits, random = mnist(binarize="none", labels=True), np.random.RandomState(seed)
    held_out = max(1, num_data // 10)
    parts = []
    for (x, y), num in zip((digits.train, digits.valid, digits.test), (num_data, held_out, held_out), strict=True):
        chosen = random.randint(len(y), size=(num, 3))  # (N, 3)
        modes = y.numpy()[chosen] @ np.array([100, 10, 1])  # (N,)
        parts.append(Part(x.numpy()[chosen].reshape(num, -1), modes))
    return assemble_images(
        "stacked_mnist",
        *parts,
        binarize=binarize,
        image_shape=(3, 28, 28),
        levels=256,
        num_classes=NUM_MODES if labels else None,
    )
