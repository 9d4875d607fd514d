"""Two normal densities in one dimension, on a grid: what critics and divergences are held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from scipy.stats import norm
from torch import Tensor

from ppgen.objectives.adversarial import Adversarial

__all__ = ["CONVEX", "GRID", "LOC", "SCALE", "P", "Q", "f_divergence", "mean_of", "risk"]

GRID = torch.linspace(-9, 9, 3601, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])
LOC, SCALE = 0.8, 1.2
P = torch.as_tensor(norm.pdf(GRID))
"""Of the data, N(0, 1)."""
Q = torch.as_tensor(norm.pdf(GRID, LOC, SCALE))
"""Of the draws, N(0.8, 1.2^2): the ratio's square has a mean either way."""

CONVEX: Mapping[str, Callable[[Tensor], Tensor]] = {
    "kl": lambda u: u * u.log(),
    "reverse_kl": lambda u: -u.log(),
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (1 - u) ** 2 / u,
    "squared_hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "jensen_shannon": lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    "gan": lambda u: u * u.log() - (u + 1) * (u + 1).log(),
    "total_variation": lambda u: (u - 1).abs() / 2,
}
"""f of each divergence."""


def mean_of(values: Tensor, density: Tensor) -> float:
    """E of a function under a density, by the trapezoidal rule."""
    return float((values * density).sum()) * STEP


def f_divergence(name: str) -> float:
    """E_q f(p / q)."""
    return mean_of(CONVEX[name](P / Q), Q)


def risk(objective: Adversarial, outputs: Tensor) -> Tensor:
    """L_c of the critic with these outputs on the grid, where data and draws have their densities. The loss is a sum of
    a mean over data and one over draws, of which each output's part is found beside outputs of zero."""
    zero = outputs.new_zeros(1)
    at_zero = objective.critic_loss(zero, zero)
    of_data = torch.vmap(lambda f: objective.critic_loss(f[None], zero))(outputs) - at_zero
    of_draws = torch.vmap(lambda f: objective.critic_loss(zero, f[None]))(outputs) - at_zero
    return at_zero + (of_data * P + of_draws * Q).sum() * STEP
