"""The Frechet distance between two normal distributions, and between features as if they were normal.

    d^2 = |m_1 - m_2|^2 + tr( S_1 + S_2 - 2 (S_1 S_2)^{1/2} )

is the squared Wasserstein-2 distance of N(m_1, S_1) and N(m_2, S_2) (Dowson and Landau 1982). Of features it reads the
means and covariances alone. It is no FID, which is that of one network's features: a number belongs to the features
that it was taken of, and to how many samples they were. It errs upward, by about a constant over the number of samples:
E|m_1 - m_2|^2 alone is larger by tr(S_1) / n + tr(S_2) / m, so that numbers of other sizes cannot be compared, and the
value for data against data of the same sizes is to stand beside it.

(S_1 S_2)^{1/2} has the trace of (R S_2 R)^{1/2}, R = S_1^{1/2}, which is symmetric: its eigenvalues are found as such,
and are none below zero where features are fewer than their dimensions, but for rounding.

GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, Heusel et al., 2017 (of features).
Effectively Unbiased FID and Inception Score, Chong and Forsyth, 2020 (the bias).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ppgen.errors import UsageError

__all__ = ["frechet_distance", "frechet_of_normals"]


def frechet_of_normals(mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor) -> float:
    """d^2 of two normal distributions, means (D,) and covariances (D, D), in the square of the features' unit.

    >>> import torch
    >>> one = torch.ones(1, 1)
    >>> frechet_of_normals(torch.zeros(1), one, torch.tensor([3.0]), 4 * one)  # 3^2 + (2 - 1)^2
    10.0
    """
    from scipy.linalg import eigh, eigvalsh

    m_1, s_1, m_2, s_2 = (part.detach().cpu().double().numpy() for part in (mean_1, covariance_1, mean_2, covariance_2))
    values, vectors = eigh(s_1)
    root: Any = vectors * np.sqrt(values.clip(0)) @ vectors.T
    traces = np.trace(s_1) + np.trace(s_2) - 2 * np.sqrt(eigvalsh(root @ s_2 @ root).clip(0)).sum()
    return float(np.square(m_1 - m_2).sum() + traces)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """d^2 of features (n, F) and (m, F), by their means and covariances (those of the normalisation n - 1).

    Raises:
        UsageError: fewer than 2 rows on a side, sides of different sizes F, or numbers that are not finite.
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise UsageError(
            "a Frechet distance expects features (n, F) and (m, F) of at least 2 data each, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}."
        )
    if not bool(x.isfinite().all()) or not bool(y.isfinite().all()):
        raise UsageError("a feature of a Frechet distance is not finite: look at the samples that it was taken of.")
    moments = [part for side in (x.double(), y.double()) for part in (side.mean(0), _covariance(side))]
    return frechet_of_normals(*moments)


def _covariance(x: Tensor) -> Tensor:
    return x.T.cov().reshape(x.shape[1], x.shape[1])
