"""Synthetic mixtures of independent sources, whose mixing is known: what independent component analysis undoes.

    s_i ~ Laplace, logistic or uniform, of variance one,  i = 1..D;        x = A s + e,  e ~ N(0, noise^2 I)

Reference: An Information-Maximization Approach to Blind Separation and Blind Deconvolution, Bell and Sejnowski, 1995.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge

from ppgen.arguments import Count, NonNegative, Seed
from ppgen.data.assemble import Part, assemble
from ppgen.data.dataset import Dataset
from ppgen.registry import register_data

__all__ = ["mixed_sources"]

Several = Annotated[int, Ge(2)]


@register_data(
    "mixed_sources",
    summary="synthetic: independent sources, Laplace, logistic or uniform, mixed by a known matrix",
    reference="Bell and Sejnowski, An information-maximization approach to blind separation and blind deconvolution",
    year=1995,
    link="https://doi.org/10.1162/neco.1995.7.6.1129",
    tags=("synthetic", "real", "embedded"),
)
def mixed_sources(
    *,
    num_sources: Several = 3,
    source: Literal["laplace", "logistic", "uniform"] = "laplace",
    noise: NonNegative = 0.0,
    num_data: Count = 2_000,
    seed: Seed = 0,
) -> Dataset:
    """``num_data`` rows to train, a fifth as many to validate and test; ``mixing`` of the data set is A, (D, D).

    Args:
        num_sources: D, which x has as many numbers as.
        source: what every source is.
        noise: the standard deviation of e, in each number of x; 0 is none.
        num_data: the number of training rows.
        seed: seeds A, standard normal with columns of length one, the sources and e.
    """
    random, held_out = np.random.RandomState(seed), max(1, num_data // 5)
    mixing = random.standard_normal((num_sources, num_sources))
    mixing /= np.linalg.norm(mixing, axis=0)
    shape = num_data + 2 * held_out, num_sources
    if source == "uniform":
        sources = random.uniform(-(3**0.5), 3**0.5, shape)
    elif source == "laplace":
        sources = random.laplace(scale=0.5**0.5, size=shape)
    else:
        sources = random.logistic(scale=3**0.5 / np.pi, size=shape)
    x = Part(sources @ mixing.T + (noise * random.standard_normal(shape) if noise else 0))
    parts = x[:num_data], x[num_data : num_data + held_out], x[num_data + held_out :]
    dataset = assemble("mixed_sources", *parts, observation="real")
    return dataclasses.replace(dataset, mixing=torch.from_numpy(mixing).to(torch.get_default_dtype()))
