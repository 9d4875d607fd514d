"""Synthetic documents whose topics are known: bars in a square of words."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from ppgen.arguments import Count, Positive, Seed, checked
from ppgen.data.assemble import Part, assemble
from ppgen.data.dataset import Dataset
from ppgen.registry import register_data

__all__ = ["bar_topics", "bars"]

Side = Annotated[int, Ge(2)]


@checked
def bar_topics(size: Side = 5) -> Tensor:
    """The topics behind ``load_data("bars", size=size)``: (2 size, size^2), each row sums to one.

    The vocabulary is a square of words. Topic k < size gives 1 / size to each word of row k, topic size + k to each of
    column k.

    Raises:
        UsageError: size is less than 2.

    >>> bar_topics(2)
    tensor([[0.5000, 0.5000, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.5000, 0.5000],
            [0.5000, 0.0000, 0.5000, 0.0000],
            [0.0000, 0.5000, 0.0000, 0.5000]])
    """
    rows = torch.eye(size)[:, :, None].expand(-1, -1, size) / size  # (size, size, size)
    return torch.cat([rows, rows.mT]).flatten(1)


@register_data(
    "bars",
    summary="synthetic documents of known topics, the bars of a 5 x 5 square of words",
    reference="Griffiths and Steyvers, Finding scientific topics",
    year=2004,
    link="https://doi.org/10.1073/pnas.0307752101",
    tags=("synthetic", "counts", "text", "embedded"),
)
def bars(
    *, size: Side = 5, num_data: Count = 1000, length: Count = 100, concentration: Positive = 1.0, seed: Seed = 0
) -> Dataset:
    """``num_data`` documents to train, a fifth as many to validate and test, of the topics :func:`bar_topics`.

        theta ~ Dirichlet(concentration, ..., concentration),        x ~ Multinomial(length, theta topics)

    The defaults are the paper's. ``spec.image_shape`` is (size, size): documents and topics are pictures.

    Args:
        size: of the square; there are size^2 words and 2 size topics.
        num_data: the number of training documents.
        length: words in each document.
        concentration: of the symmetric Dirichlet; the smaller, the fewer topics in a document.
        seed: seeds the documents.
    """
    topics = (bar_topics(size) > 0).double().numpy() / size
    random, held_out = np.random.RandomState(seed), max(1, num_data // 5)
    theta = random.dirichlet(np.full(2 * size, concentration), size=num_data + 2 * held_out)  # (N, 2 size)
    x = Part(np.stack([random.multinomial(length, words) for words in theta @ topics]))  # (N, size^2)
    parts = x[:num_data], x[num_data : num_data + held_out], x[num_data + held_out :]
    vocabulary = [f"row {row} column {column}" for row in range(size) for column in range(size)]
    return assemble("bars", *parts, observation="counts", image_shape=(size, size), vocabulary=vocabulary)
