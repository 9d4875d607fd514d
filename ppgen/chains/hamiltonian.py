"""Moves of chains over real numbers along the slope of a log-density: Hamiltonian; of one leapfrog Langevin.

    r ~ N(0, I);   L times:  r <- r + e/2 g(s),   s <- s + e r,   r <- r + e/2 g(s),        g = grad log p

accepted with probability min(1, exp(change of log p(s) - |r|^2 / 2)), which leaves p invariant. With L = 1 this is the
Metropolis-adjusted Langevin algorithm; without acceptance as well, Langevin dynamics with an error of the order of e^2.
e is drawn for every chain within a fifth of the step size, so that no trajectory is a whole period.

A trajectory that is a part of a bound (:func:`drifting`) has a gradient, and begins with half a step of s: one slope a
leapfrog, where the other order takes one more. Both keep volume, and are reversed by turning r round.

Neal: MCMC Using Hamiltonian Dynamics, 2011, sections 3 and 5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Seen", "drifting", "hamiltonian_move", "leapfrogs"]

Seen: TypeAlias = tuple[Tensor, Sequence[Tensor]]
"""log p at a position, and its slope in every part, both without a gradient."""


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
    (start, _), (end, _), (moved,), (after,) = leapfrogs(lambda at: log_density(at[0]), [s], [r], [e], num_leapfrogs)
    if not metropolis:
        return moved
    gain = (end - after.square().sum(-1) / 2 - start + r.square().sum(-1) / 2).nan_to_num(nan=-torch.inf)  # (...,)
    return torch.where((torch.rand_like(gain).log() < gain).unsqueeze(-1), moved, s)


def leapfrogs(
    log_density: Callable[[list[Tensor]], Tensor],
    s: Sequence[Tensor],
    r: Sequence[Tensor],
    e: Sequence[Tensor],
    num: int,
    start: Seen | None = None,
) -> tuple[Seen, Seen, list[Tensor], list[Tensor]]:
    """What is seen at the start and at the end of a trajectory, and where and how fast it ends.

    Args:
        log_density: log p of positions, up to a constant, summed over what makes one state: a gradient of its sum is
            each state's own.
        s, r: positions and momenta, tensors of a state's parts.
        e: step sizes, each broadcast with its part.
        num: L.
        start: where it is known already.
    """
    s, r = list(s), list(r)
    end = start = _seen(log_density, s) if start is None else start
    for _ in range(num):
        r = [one + step / 2 * g for one, step, g in zip(r, e, end[1], strict=True)]
        s = [one + step * p for one, step, p in zip(s, e, r, strict=True)]
        end = _seen(log_density, s)
        r = [one + step / 2 * g for one, step, g in zip(r, e, end[1], strict=True)]
    return start, end, s, r


def _seen(log_density: Callable[[list[Tensor]], Tensor], s: Sequence[Tensor]) -> Seen:
    leaves = [part.detach().requires_grad_() for part in s]
    with torch.enable_grad():
        value = log_density(leaves)
        slopes = torch.autograd.grad(value.sum(), leaves)
    return value.detach(), slopes


def drifting(slope: Callable[[Tensor], Tensor], s: Tensor, r: Tensor, e: Tensor, num: int = 1) -> tuple[Tensor, Tensor]:
    """Where and how fast a trajectory ends, both (..., D), with the gradient of all that it was made of.

        s <- s + e/2 r,    num times:  r <- r + e slope(s),  s <- s + e r  (the last time e/2 r)

    Args:
        slope: of a log-density, (..., D) -> (..., D), itself differentiable.
        s, r: position and momentum.
        e: step size, broadcast with them.
        num: of leapfrogs; 0 leaves both as they are.

    >>> r = torch.tensor([0.5])
    >>> drifting(torch.neg, torch.ones(1), r, torch.tensor(0.1), 2)[1]
    tensor([0.2910])
    """
    for step in range(num):
        s = s + (e if step else e / 2) * r
        r = r + e * slope(s)
    return (s + e / 2 * r if num else s), r
