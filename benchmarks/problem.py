"""The problem every peer solves: a VAE, its data, its first values and the order of its batches, in NumPy.

    p(z) = N(0, I_50),  p(x | z) = Bernoulli(logits = decoder(z)),  q(z | x) = N(loc(x), exp(log_scale(x))^2)

The encoder is 784-200-200-(50 + 50), the decoder 50-200-200-784, tanh between layers, float32. Peers that
start from the same values and see the same batches differ by the noise of their samples of z alone.
"""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DECODER",
    "ENCODER",
    "LATENT",
    "LEARNING_RATE",
    "Layers",
    "data_file",
    "first_values",
    "images",
    "index_batches",
]

Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]

LATENT = 50
ENCODER = (784, 200, 200, 2 * LATENT)  # the last layer holds loc, then log_scale
DECODER = (LATENT, 200, 200, 784)
LEARNING_RATE = 1e-3
NUM_DATA = 50_000


def data_file() -> Path:
    """The static binarized MNIST: in the folder PPGEN_DATA, else in ../shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("PPGEN_DATA", beside)) / "binarized_mnist.npz"


def images() -> NDArray[np.float32]:
    """The training images, (50000, 784), 0 or 1; without the file random pixels, which take the same time."""
    if not data_file().exists():
        return (np.random.default_rng(0).random((NUM_DATA, 784), dtype=np.float32) < 0.13).astype(np.float32)
    with np.load(data_file(), allow_pickle=False) as arrays:
        pixels = np.unpackbits(arrays["train_packed"], axis=1)
        return pixels.astype(np.float32, order="C")  # unpacked in the other order, in which a row is 784 cache lines


def first_values(seed: int = 0) -> tuple[Layers, Layers]:
    """Of encoder and decoder: each layer's weight (in, out) and bias (out,), uniform in +-1/sqrt(in)."""
    generator = np.random.default_rng(seed)

    def layers(sizes: tuple[int, ...]) -> Layers:
        return [
            (
                generator.uniform(-(n**-0.5), n**-0.5, (n, m)).astype(np.float32),
                generator.uniform(-(n**-0.5), n**-0.5, m).astype(np.float32),
            )
            for n, m in pairwise(sizes)
        ]

    return layers(ENCODER), layers(DECODER)


def index_batches(batch_size: int, seed: int = 0) -> Iterator[tuple[NDArray[np.int64] | None, int]]:
    """Endless (permutation, start): the batch is `data[permutation[start : start + batch_size]]`.

    The permutation, (50000,), comes with the first batch of an epoch and is None after it, so that a peer
    moves it to its device once an epoch. Data that do not fill a batch are left out, as with `drop_last`.
    """
    generator = np.random.default_rng(seed)
    while True:
        permutation = generator.permutation(NUM_DATA)
        for start in range(0, NUM_DATA - batch_size + 1, batch_size):
            yield (permutation if start == 0 else None), start
