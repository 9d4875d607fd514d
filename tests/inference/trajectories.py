"""Log-weights of trajectories by hand, none of the engine, and their expectation, of which the quadrature is exact.

On linear-Gaussian pairs leapfrogs are linear in the noise, so a log-weight is a polynomial of degree 2 in it: three
Gauss-Hermite nodes a draw integrate it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from tests.inference.truth import Parameters, Reduce, X, expectation

__all__ = ["Paths", "annealed", "tempered"]

Density: TypeAlias = Callable[[Tensor], Tensor]
Trajectory: TypeAlias = Callable[[Density, Density, Tensor, Tensor], Tensor]
"""log w by log p(z, x), log q(z | x), where z begins, and the other noise (..., draws, D)."""


@dataclass(frozen=True)
class Paths:
    """A trajectory's log-weight on :class:`Line` and :class:`Chain`, of ``draws`` normal vectors beside z's."""

    log_weight: Trajectory
    draws: int

    def line(self, p: Parameters, noise: Tensor) -> Tensor:
        """log w at x = X of noise (..., 1 + draws)."""
        loc = p["slope"] * X + p["shift"]

        def log_p(z: Tensor) -> Tensor:
            return _normal(z[..., 0], 0.0, 0.0) + _normal(X, p["weight"] * z[..., 0] + p["loc"], p["log_noise"])

        def log_q(z: Tensor) -> Tensor:
            return _normal(z[..., 0], loc, p["log_scale"])

        start = loc + p["log_scale"].exp() * noise[..., :1]
        return self.log_weight(log_p, log_q, start, noise[..., 1:].unflatten(-1, (-1, 1)))

    def chain(self, p: Parameters, noise: Tensor) -> Tensor:
        """log w at x = X of noise (..., 2 + 2 draws)."""
        loc1 = p["slope1"] * X + p["shift1"]

        def log_p(z: Tensor) -> Tensor:
            z1, z2 = z.unbind(-1)
            above = _normal(z2, 0.0, 0.0) + _normal(z1, p["top"] * z2, p["log_spread"])
            return above + _normal(X, p["bottom"] * z1, 0.0)

        def log_q(z: Tensor) -> Tensor:
            z1, z2 = z.unbind(-1)
            return _normal(z1, loc1, p["log_scale1"]) + _normal(z2, p["slope2"] * z1 + p["shift2"], p["log_scale2"])

        z1 = loc1 + p["log_scale1"].exp() * noise[..., 0]
        z2 = p["slope2"] * z1 + p["shift2"] + p["log_scale2"].exp() * noise[..., 1]
        return self.log_weight(log_p, log_q, torch.stack([z1, z2], -1), noise[..., 2:].unflatten(-1, (-1, 2)))

    def expected(
        self, on: Callable[[Parameters, Tensor], Tensor], dims: int, reduce: Reduce, parameters: Parameters
    ) -> Tensor:
        """E reduce(log w), in nats, of one trajectory through ``dims`` latents."""
        return expectation(on, reduce, parameters, particles=1, latents=dims * (1 + self.draws), nodes=3)


def annealed(num: int, e: float, kept: float) -> Paths:
    """Of annealed trajectories with ``num`` bridges evenly spaced, one leapfrog each, whatever they begin with."""

    def log_weight(log_p: Density, log_q: Density, z: Tensor, noise: Tensor) -> Tensor:
        r, log_w = noise[..., 0, :], -log_q(z)
        for t in range(1, num + 1):
            b, log_w = t / num, log_w - _standard(r)
            z, r = _leapfrog(_between(log_q, log_p, b), z, r, e)
            log_w = log_w + _standard(r)
            if t < num:
                r = kept * r + math.sqrt(1 - kept**2) * noise[..., t, :]
        return log_w + log_p(z)

    return Paths(log_weight, num)


def tempered(num: int, e: float, a: float) -> Paths:
    """Of a Hamiltonian trajectory of ``num`` leapfrogs whose momentum begins at the inverse temperature a.

    The Jacobian is by its logarithm here, and the momentum's density at the start that of what was drawn.
    """

    def log_weight(log_p: Density, log_q: Density, z: Tensor, noise: Tensor) -> Tensor:
        r, dims = noise[..., 0, :] / math.sqrt(a), z.shape[-1]
        log_w = -log_q(z) - (_standard(math.sqrt(a) * r) + dims * math.log(a) / 2)  # the density of N(0, I / a)
        roots = [1 / ((1 - 1 / math.sqrt(a)) * (k / num) ** 2 + 1 / math.sqrt(a)) for k in range(num + 1)]
        for before, after in pairwise(roots):
            z, r = _leapfrog(log_p, z, r, e)
            r, log_w = before / after * r, log_w + dims * math.log(before / after)
        return log_w + log_p(z) + _standard(r)

    return Paths(log_weight, 1)


def _between(log_q: Density, log_p: Density, b: float) -> Density:
    return lambda z: (1 - b) * log_q(z) + b * log_p(z)


def _leapfrog(density: Density, z: Tensor, r: Tensor, e: float) -> tuple[Tensor, Tensor]:
    half = z + e / 2 * r
    with torch.enable_grad():
        at = half if half.requires_grad else half.clone().requires_grad_()
        (slope,) = torch.autograd.grad(density(at).sum(), at, create_graph=True)
    r = r + e * (slope if half.requires_grad else slope.detach())
    return half + e / 2 * r, r


def _standard(r: Tensor) -> Tensor:
    return _normal(r, 0.0, 0.0).sum(-1)


def _normal(value: Tensor | float, loc: Tensor | float, log_scale: Tensor | float) -> Tensor:
    scaled = (value - torch.as_tensor(loc)) * torch.as_tensor(-log_scale).exp()
    return -(scaled.square() + math.log(2 * math.pi)) / 2 - log_scale
