"""How far two weighted samples of a number are apart: Wasserstein-1, by the probability of intervals, by quantiles.

For distribution functions F and G on the line the distance W1(F, G), the least mean distance over which mass has to be
moved, is the area between them,

    W1 = integral |F(t) - G(t)| dt,

of steps here: exact for weighted samples, discrete or not. It bounds what a wrong posterior does to any expectation:
|E_F h - E_G h| <= W1 for every h of slope at most 1, the mean among them. Of N(m, s^2) and N(m, c^2 s^2) it is
|1 - c| s (2 / pi)^(1/2); of N(m, s^2) and N(m + d, s^2) it is |d|; of two coins it is |p - q|.

Kuiper's distance is the largest difference in the probability of any interval,

    V = sup_{s <= t} |F(t) - F(s) - G(t) + G(s)|  =  sup_t (F - G)  -  inf_t (F - G),

at most the total variation, and equal to it where the densities cross at most twice. It has no unit. Of the normals
above it is 2 Phi(t) - 2 Phi(c t) with t^2 = -2 log c / (1 - c^2), and 2 Phi(|d| / 2s) - 1; of two coins |p - q|.

Villani, Topics in Optimal Transportation, 2003, section 2.2. Huggins, Kasprzak, Campbell and Broderick, Validated
variational inference via practical posterior error bounds, AISTATS 2020 (what W1 bounds of a posterior). Kuiper, Tests
concerning random points on a circle, 1960.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["interval_distance", "wasserstein_1", "weighted_quantiles"]


def wasserstein_1(
    one: Tensor, other: Tensor, weight: Tensor | None = None, other_weight: Tensor | None = None
) -> Tensor:
    """W1 between weighted samples (N, ...) and (M, ...), column by column: (...), in the units of the values.

    Args:
        one: values.
        other: values.
        weight: of the first sample, of its shape or one that expands to it, summing to one over N; None: equal ones.
        other_weight: of the second.

    >>> wasserstein_1(torch.tensor([0.0, 1.0]), torch.tensor([3.0]))
    tensor(2.5000)
    """
    between, lengths = _steps(one, other, weight, other_weight)
    return (between.abs() * lengths).sum(0)


def interval_distance(
    one: Tensor, other: Tensor, weight: Tensor | None = None, other_weight: Tensor | None = None
) -> Tensor:
    """V between weighted samples (N, ...) and (M, ...), column by column: (...), in [0, 1].

    Args:
        one: values.
        other: values.
        weight: as of :func:`wasserstein_1`.
        other_weight: of the second.

    >>> interval_distance(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, 1.0, 1.0]))
    tensor(0.2500)
    """
    between, lengths = _steps(one, other, weight, other_weight)
    difference = between.where(lengths > 0, 0)
    return difference.amax(0).clamp_min(0) - difference.amin(0).clamp_max(0)


def weighted_quantiles(values: Tensor, probabilities: Tensor, weight: Tensor | None = None) -> Tensor:
    """The smallest values (N, ...) below or at which at least a share p of the weight lies: (P, ...).

    >>> weighted_quantiles(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.1, 0.5, 1.0]))
    tensor([1., 2., 3.])
    """
    ordered, order = values.sort(0)
    cumulated = _masses(values, weight).gather(0, order).cumsum(0)  # (N, ...)
    rounding = torch.finfo(cumulated.dtype).eps * len(values)
    places = [(cumulated < p - rounding).sum(0).clamp_max(len(values) - 1) for p in probabilities.to(cumulated)]
    return torch.stack([ordered.gather(0, place.unsqueeze(0))[0] for place in places])


def _steps(one: Tensor, other: Tensor, weight: Tensor | None, other_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """F - G between each two successive values of both samples, and how far these are apart: (N + M - 1, ...) each."""
    masses = torch.cat([_masses(one, weight), -_masses(other, other_weight)])
    ordered, order = torch.cat([one, other]).sort(0)
    return masses.gather(0, order).cumsum(0)[:-1], ordered.diff(dim=0)


def _masses(values: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return torch.full_like(values, 1 / len(values))
    return weight.to(values.dtype).expand_as(values)
