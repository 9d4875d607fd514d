"""How far a guide is from a posterior that is known: normals in closed form, numbers by quadrature, bits by tables.

Of a datum the size is in nats, KL(q || p), and by the Wasserstein-1 distance of each unit's marginals,

    W1(q, p) = E |F_q^-1(u) - F_p^-1(u)| = integral |F_q - F_p|

    of N(m + d, a^2) from N(m, b^2):  E|d + (a - b) t| = (a - b) (2/pi)^1/2 exp(-r^2 / 2) + |d| (1 - 2 Phi(-r)),
                                      r = |d| / |a - b|,  t ~ N(0, 1)
    of bits:                          |q - p|
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Off", "of_grids", "of_normals", "of_states"]


@dataclass(frozen=True, eq=False)
class Off:
    """Of each datum: KL in nats, (B,); W1 of each unit, (B, U), and the posterior's standard deviations, (B, U)."""

    kl: Tensor
    distance: Tensor
    sd: Tensor

    @property
    def nats(self) -> float:
        """The mean KL."""
        return float(self.kl.mean())

    @property
    def deviations(self) -> float:
        """Of the unit that is farthest off, root mean squares over data."""
        return float((self.distance.square().mean(0) / self.sd.square().mean(0)).sqrt().max())


def of_normals(q: Any, p: Any) -> Off:
    """Of multivariate normals, (B,) of them with (F,) numbers each.

    >>> q, p = (torch.distributions.MultivariateNormal(torch.full((1, 2), m), torch.eye(2)) for m in (0.3, 0.0))
    >>> off = of_normals(q, p)
    >>> round(off.nats, 3), round(off.deviations, 3)
    (0.09, 0.3)
    """
    kl = torch.distributions.kl_divergence(q, p)
    d, spread = (q.mean - p.mean).abs(), (q.stddev - p.stddev).abs()
    r = d / spread.clamp_min(1e-12)
    inside = 2 * torch.special.ndtr(r) - 1
    distance = spread * math.sqrt(2 / math.pi) * (-r.square() / 2).exp() + d * inside
    return Off(*torch.broadcast_tensors(kl), *torch.broadcast_tensors(distance, p.stddev))


def of_grids(log_q: Tensor, log_p: Tensor, grid: Tensor) -> Off:
    """Of densities of U independent numbers, known up to a constant on a grid of equal steps: (G, B, U), and (G,).

    >>> grid = torch.linspace(-9, 9, 1001)
    >>> log_q, log_p = (-(grid - m).square()[:, None, None] / 2 for m in (0.3, 0.0))
    >>> off = of_grids(log_q, log_p, grid)
    >>> round(off.nats, 3), round(off.deviations, 3)
    (0.045, 0.3)
    """
    step, at = float(grid[1] - grid[0]), grid[:, None, None]
    q, p = log_q.softmax(0), log_p.softmax(0)
    difference = log_q.log_softmax(0) - log_p.log_softmax(0)
    kl = torch.where(q > 0, q * difference, 0.0).sum((0, 2))
    distance = (q - p).cumsum(0).abs().sum(0) * step
    mean = (p * at).sum(0)
    return Off(kl, distance, (p * (at - mean).square()).sum(0).sqrt())


def of_states(log_q: Tensor, log_p: Tensor, states: Tensor) -> Off:
    """Of probabilities of the joint states of bits, (S, B), and the bits, (S, U).

    >>> log_q, log_p, states = torch.tensor([[0.5], [0.5]]), torch.tensor([[0.1], [0.9]]), torch.tensor([[0.0], [1.0]])
    >>> off = of_states(log_q.log(), log_p.log(), states)
    >>> round(off.nats, 3), round(float(off.distance), 1)
    (0.511, 0.4)
    """
    q, p = log_q.softmax(0), log_p.softmax(0)
    kl = torch.where(q > 0, q * (log_q.log_softmax(0) - log_p.log_softmax(0)), 0.0).sum(0)
    on, truly = q.T @ states, p.T @ states  # (B, U)
    return Off(kl, (on - truly).abs(), (truly * (1 - truly)).sqrt())
