"""Moves of chains over real numbers along the slope of a log-density: Hamiltonian; of one leapfrog Langevin.

    r ~ N(0, I);   L times:  r <- r + e/2 g(s),   s <- s + e r,   r <- r + e/2 g(s),        g = grad log p

accepted with probability min(1, exp(change of log p(s) - |r|^2 / 2)), which leaves p invariant. With L = 1 this is the
Metropolis-adjusted Langevin algorithm; without acceptance as well, Langevin dynamics with an error of the order of e^2.
e is drawn for every chain within a fifth of the step size, so that no trajectory is a whole period.

Neal: MCMC Using Hamiltonian Dynamics, 2011, sections 3 and 5.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["hamiltonian_move"]


def hamiltonian_move(
    log_density: Callable[[Tensor], Tensor],
    s: Tensor,
    step_size: float,
    num_leapfrogs: int,
    *,
    metropolis: bool = True,
) -> Tensor:
    """The next states of chains, each accepted by itself, (..., D) -> (..., D), without a gradient.

    Args:
        log_density: log p up to a constant, (..., D) -> (...,), in nats; each chain's a function of its state alone.
        s: where the chains are.
        step_size: e, in the unit of s.
        num_leapfrogs: L.
        metropolis: accept or refuse; False takes every proposal, and p is left invariant in the limit of small e only.
    """
    r = torch.randn_like(s)
    e = step_size * (0.8 + 0.4 * torch.rand_like(s[..., :1]))  # (..., 1)
    value, slope = _slope(log_density, s)
    before, moved = value - r.square().sum(-1) / 2, s
    for _ in range(num_leapfrogs):
        r = r + e / 2 * slope
        moved = moved + e * r
        value, slope = _slope(log_density, moved)
        r = r + e / 2 * slope
    if not metropolis:
        return moved
    gain = (value - r.square().sum(-1) / 2 - before).nan_to_num(nan=-torch.inf)  # (...,)
    return torch.where((torch.rand_like(gain).log() < gain).unsqueeze(-1), moved, s)


def _slope(log_density: Callable[[Tensor], Tensor], s: Tensor) -> tuple[Tensor, Tensor]:
    """log p, (...,), and its gradient, (..., D)."""
    with torch.enable_grad():
        leaf = s.detach().requires_grad_()
        value = log_density(leaf)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope
