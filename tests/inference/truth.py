"""The truth that estimators are held against: densities by hand, expectations by quadrature, none of the engine.

A bound of K particles is a smooth function of K standard normal draws (of L latents each), so Gauss-Hermite
quadrature over all K L of them gives its expectation, and autograd through it the exact gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from statistics import NormalDist
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from ppgen.objectives.bounds import Bound
from ppgen.pairs.tracing import Program, run_particles
from tests.doubles import Chain, Line

__all__ = [
    "CRITICAL",
    "F",
    "Parameters",
    "Reduce",
    "X",
    "chain_log_w",
    "ciwae",
    "compare",
    "elbo",
    "error_of_mean",
    "exact_gradient",
    "expectation",
    "expected_gradient",
    "gradient_draws",
    "iwelbo",
    "jackknife",
    "less_divergence",
    "line_log_w",
    "renyi",
    "value_draws",
    "z_scores",
]

X = 1.3
"""The datum."""

FALSE_ALARM, COMPARISONS = 1e-3, 500
CRITICAL = NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * COMPARISONS))
"""|z| beyond which a mean is not the exact one: all comparisons of these tests together raise a false alarm with
probability below 1e-3 (Bonferroni, at most 500 of them)."""

Parameters = Mapping[str, Tensor]
LogWeight = Callable[[Parameters, Tensor], Tensor]
Reduce = Callable[[Tensor], Tensor]


def _normal(value: Tensor, loc: Tensor | float, log_scale: Tensor | float) -> Tensor:
    scaled = (value - loc) * torch.as_tensor(-log_scale).exp()
    return -(scaled.square() + math.log(2 * math.pi)) / 2 - log_scale


def line_log_w(p: Parameters, noise: Tensor, beta: float = 1.0) -> Tensor:
    """log w of :class:`Line` at x = X and standard normal draws (..., 1); with ``beta`` its KL part is weighted."""
    z = p["slope"] * X + p["shift"] + p["log_scale"].exp() * noise[..., 0]
    likelihood = _normal(torch.as_tensor(X, dtype=torch.float64), p["weight"] * z + p["loc"], p["log_noise"])
    kl = _normal(z, p["slope"] * X + p["shift"], p["log_scale"]) - _normal(z, 0.0, 0.0)
    return likelihood - beta * kl


def chain_log_w(p: Parameters, noise: Tensor) -> Tensor:
    """log w of :class:`Chain` at x = X and standard normal draws (..., 2)."""
    loc1 = p["slope1"] * X + p["shift1"]
    z1 = loc1 + p["log_scale1"].exp() * noise[..., 0]
    loc2 = p["slope2"] * z1 + p["shift2"]
    z2 = loc2 + p["log_scale2"].exp() * noise[..., 1]
    log_p = _normal(z2, 0.0, 0.0) + _normal(z1, p["top"] * z2, p["log_spread"])
    log_p = log_p + _normal(torch.as_tensor(X, dtype=torch.float64), p["bottom"] * z1, 0.0)
    return log_p - _normal(z1, loc1, p["log_scale1"]) - _normal(z2, loc2, p["log_scale2"])


def elbo(log_w: Tensor) -> Tensor:
    """The mean of log-weights (K, ...)."""
    return log_w.mean(0)


def iwelbo(log_w: Tensor) -> Tensor:
    """The log-mean-exp of log-weights (K, ...)."""
    return log_w.logsumexp(0) - math.log(len(log_w))


def renyi(alpha: float) -> Reduce:
    """The Renyi bound of order ``alpha`` of log-weights (K, ...)."""
    return lambda log_w: iwelbo((1 - alpha) * log_w) / (1 - alpha)


def ciwae(beta: float) -> Reduce:
    """beta ELBO + (1 - beta) IWELBO of log-weights (K, ...)."""
    return lambda log_w: beta * elbo(log_w) + (1 - beta) * iwelbo(log_w)


def jackknife(order: int) -> Reduce:
    """The jackknife of the importance-weighted bound, by its definition: means over all sets of particles."""

    def over_sets(log_w: Tensor, size: int) -> Tensor:
        return torch.stack([iwelbo(log_w[list(kept)]) for kept in combinations(range(len(log_w)), size)]).mean(0)

    def reduce(log_w: Tensor) -> Tensor:
        num = len(log_w)
        powers = np.array([[float(num - j) ** -i for j in range(order + 1)] for i in range(order + 1)])
        weights = np.linalg.solve(powers, np.eye(order + 1)[0])  # they sum to 1, and every term in K^-i cancels
        return torch.stack([float(c) * over_sets(log_w, num - j) for j, c in enumerate(weights)]).sum(0)

    return reduce


TINY = 1e-200
"""In the place of shares that underflow at quadrature's outermost nodes, where the weight is nothing."""

F = {
    "reverse_kl": lambda r: -r.log(),
    "forward_kl": lambda r: r * r.log(),
    "chi2": lambda r: (r - 1).square(),
    "hellinger": lambda r: (r.sqrt() - 1).square(),
    "jensen_shannon": lambda r: (r * (2 * r / (1 + r)).log() + (2 / (1 + r)).log()) / 2,
}
"""f of f-divergences E_q[f(p / q)]."""


def less_divergence(f: str) -> Reduce:
    """The log-mean-exp of log-weights (K, ...) less the f-divergence of their shares."""
    return lambda log_w: iwelbo(log_w) - F[f]((len(log_w) * log_w.softmax(0)).clamp_min(TINY)).mean(0)


def expectation(
    log_weight: LogWeight, reduce: Reduce, parameters: Parameters, *, particles: int, latents: int = 1, nodes: int = 0
) -> Tensor:
    """E reduce(log w_1, ..., log w_K) by Gauss-Hermite quadrature of ``nodes`` points a draw (200 or 28 if 0)."""
    grid, weight = _grid(particles * latents, nodes or (200 if particles * latents <= 2 else 28))
    grid = grid.reshape(-1, particles, latents)  # (nodes^draws, K, L)
    return (weight * reduce(log_weight(parameters, grid).T)).sum()


def _grid(draws: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes of standard normal draws, (nodes^draws, draws), and their weights, which sum to 1."""
    points, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(nodes))
    grid = torch.cartesian_prod(*[points] * draws).reshape(-1, draws)
    weight: Tensor = torch.cartesian_prod(*[weights] * draws).reshape(len(grid), -1).prod(1)
    return grid, weight / weight.sum()


def exact_gradient(value: Callable[[Parameters], Tensor], pair: nn.Module) -> dict[str, float]:
    """The gradient of ``value`` by the pair's scalar parameters."""
    parameters = {name: p.detach().clone().requires_grad_() for name, p in pair.named_parameters()}
    found = torch.autograd.grad(value(parameters), list(parameters.values()))
    return {name: float(g) for name, g in zip(parameters, found, strict=True)}


def gradient_draws(objective: Any, pair: Line | Chain, rounds: int = 1) -> dict[str, Tensor]:
    """Independent draws of the bound's gradient at X, one a round for each copy that the pair holds."""
    parameters = list(pair.parameters())
    x = torch.full((len(parameters[0]), 1), X, dtype=torch.float64)
    found = [
        torch.autograd.grad(-objective.differentiable_loss(pair.model, pair.guide, x), parameters)
        for _ in range(rounds)
    ]
    return {name: torch.cat(g) for (name, _), g in zip(pair.named_parameters(), zip(*found, strict=True), strict=True)}


def expected_gradient(objective: Any, particles: int, nodes: int) -> dict[str, float]:
    """The expectation of the objective's own gradient on :class:`Line` at X: it is run at the nodes of quadrature.

    ``objective`` draws ``particles`` numbers a datum and nothing more; each datum has a node for its draws.
    """
    grid, weight = _grid(particles, nodes)

    def standard(shape: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
        if tuple(shape) == (particles, len(grid)):
            return grid.T.to(dtype)
        return torch.randn(shape, dtype=dtype, device=device)  # the engine looks at a pair by runs of other shapes

    with patch.object(torch.distributions.normal, "_standard_normal", standard):
        found = gradient_draws(objective, Line(len(grid)))
    return {name: float((weight * gradient).sum()) for name, gradient in found.items()}


@torch.no_grad()
def value_draws(objective: Bound, pair: Line | Chain, draws: int) -> Tensor:
    """Independent draws of the bound at X, (draws,)."""
    x = torch.full((draws, 1), X, dtype=torch.float64)
    return objective.estimate(run_particles(Program(pair.model, pair.guide), (x,), objective.total_particles))


def z_scores(draws: Mapping[str, Tensor], exact: Mapping[str, float]) -> dict[str, float]:
    """(mean - exact) / standard error, for every parameter."""
    return {name: float((g.mean() - exact[name]) / error_of_mean(g)) for name, g in draws.items()}


def compare(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, float]:
    """The z-score of the difference of two means, for every parameter."""
    errors = {name: math.hypot(error_of_mean(one[name]), error_of_mean(other[name])) for name in one}
    return {name: float(one[name].mean() - other[name].mean()) / errors[name] for name in one}


def error_of_mean(draws: Tensor) -> float:
    """Standard error of a mean; rounding bounds it from below where the variance is zero."""
    return max(float(draws.std()) / math.sqrt(len(draws)), 1e-12)
