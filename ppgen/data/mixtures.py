"""Synthetic data in the plane whose modes are known: eight Gaussians on a ring, 25 on a grid.

    x = c_m + scale e,        m uniform over the centres c_1..c_M,  e ~ N(0, I)

The density is known, so that what a generator leaves out can be counted, and how near a density comes: of modes apart
E[log p(x)] = -log M - log(2 pi scale^2) - 1, which is 4.2930 nats of the ring and -0.0653 of the grid as they are.

Sizes and scales are those of PacGAN: The Power of Two Samples in Generative Adversarial Networks, Lin, Khetan, Fanti
and Oh, 2018, section 4.1, which takes them from VEEGAN, Srivastava et al., 2017.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from ppgen.arguments import Count, Positive, Seed
from ppgen.data.assemble import Part, assemble
from ppgen.data.dataset import Dataset
from ppgen.data.modes import Modes
from ppgen.registry import register_data

__all__ = ["grid", "ring"]


@register_data(
    "ring",
    summary="synthetic: eight narrow Gaussians on a circle, modes known",
    reference="Lin, Khetan, Fanti and Oh, PacGAN: the power of two samples in generative adversarial networks",
    year=2018,
    link="https://arxiv.org/abs/1712.04086",
    tags=("synthetic", "real", "embedded", "modes"),
)
def ring(
    *, num_modes: Count = 8, radius: Positive = 1.0, scale: Positive = 0.01, num_data: Count = 100_000, seed: Seed = 0
) -> Dataset:
    """``num_data`` rows to train, a tenth as many to validate and test; M centres at angles 2 pi m / M.

    Args:
        num_modes: M.
        radius: of the circle.
        scale: the standard deviation of each Gaussian.
        num_data: the number of training rows.
        seed: seeds the rows.
    """
    angles = torch.arange(num_modes) * (2 * math.pi / num_modes)  # the endpoint is left out: it is the first again
    return _mixture("ring", radius * torch.stack([angles.cos(), angles.sin()], 1), scale, num_data, seed)


@register_data(
    "grid",
    summary="synthetic: 25 narrow Gaussians on a square grid, modes known",
    reference="Lin, Khetan, Fanti and Oh, PacGAN: the power of two samples in generative adversarial networks",
    year=2018,
    link="https://arxiv.org/abs/1712.04086",
    tags=("synthetic", "real", "embedded", "modes"),
)
def grid(
    *, side: Count = 5, spacing: Positive = 2.0, scale: Positive = 0.05, num_data: Count = 100_000, seed: Seed = 0
) -> Dataset:
    """``num_data`` rows to train, a tenth as many to validate and test; side^2 centres about the origin.

    Args:
        side: centres in a row.
        spacing: between neighbouring centres.
        scale: the standard deviation of each Gaussian.
        num_data: the number of training rows.
        seed: seeds the rows.
    """
    places = spacing * (torch.arange(side) - (side - 1) / 2)
    return _mixture("grid", torch.cartesian_prod(places, places), scale, num_data, seed)


def _mixture(name: str, centres: Tensor, scale: float, num_data: int, seed: int) -> Dataset:
    """The data set of equally likely Gaussians at ``centres``, (M, 2)."""
    random = np.random.RandomState(seed)
    held_out = max(1, num_data // 10)
    rows = num_data + 2 * held_out
    chosen = centres.double().numpy()[random.randint(len(centres), size=rows)]  # (N, 2)
    x = Part(chosen + scale * random.standard_normal((rows, 2)))
    valid, test = x[num_data : num_data + held_out], x[num_data + held_out :]
    dataset = assemble(name, x[:num_data], valid, test, observation="real")
    return dataclasses.replace(dataset, modes=Modes(centres, float(scale)))
