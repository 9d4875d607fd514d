"""Codes of the lasso by FISTA: the proximal gradient with momentum.

    z(x) = argmin_z  z' G z / 2 - b' z + l |z|_1            G: (H, H), b: (H,), of W: G = W' W, b = W' x

    z_k+1 = S(y_k - (G y_k - b) / L, l / L),   S(a, t) = sign(a) max(|a| - t, 0),    L the largest eigenvalue of G
    y_k+1 = z_k+1 + (t_k - 1) / t_k+1 (z_k+1 - z_k),        t_k+1 = (1 + (1 + 4 t_k^2)^1/2) / 2

The value falls as 1 / k^2 (Beck and Teboulle 2009, theorem 4.4). Where momentum points uphill, (y_k - z_k+1)' (z_k+1 -
z_k) > 0, it begins anew, t = 1 (O'Donoghue and Candes 2015): then convergence is linear near the end. Every row has its
own momentum and stops by itself, so that a code does not depend on the other data of its batch. All of it is one
operator, without a gradient, so that a step of training stays one graph.

A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems, Beck and Teboulle, 2009; Adaptive Restart
for Accelerated Gradient Schemes, O'Donoghue and Candes, 2015.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["lasso_codes", "shrunk"]

_LOOKS = 10
"""Steps after each of which rows that have arrived are left out."""


def lasso_codes(gram: Tensor, cross: Tensor, penalty: float, iterations: int) -> Tensor:
    """z of each b, (..., H), for G (H, H), without gradient: (..., H).

    A row stops where a step moves no number by more than a hundredth of the root of the type's precision, relative to
    the largest, or after ``iterations`` steps.

    >>> lasso_codes(torch.eye(3), torch.tensor([[2.0, -0.3, -1.5]]), 0.5, 100)  # the shrunk b itself
    tensor([[ 1.5000,  0.0000, -1.0000]])
    """
    codes: Tensor = _fista(gram.detach(), cross.detach().reshape(-1, len(gram)), penalty, iterations)
    return codes.reshape(cross.shape)


def shrunk(value: Tensor, by: Tensor) -> Tensor:
    """S(a, t): every number nearer to 0 by t, and no further than 0."""
    return value - value.clamp(-by, by)


@torch.library.custom_op("ppgen::lasso_codes", mutates_args=(), schema="(Tensor g, Tensor b, float l, int n) -> Tensor")
def _fista(gram: Tensor, cross: Tensor, penalty: float, iterations: int) -> Tensor:
    step = 1 / torch.linalg.eigvalsh(gram)[-1].clamp_min(torch.finfo(gram.dtype).tiny)
    near = torch.finfo(cross.dtype).eps ** 0.5 / 100
    found, rows = torch.zeros_like(cross), torch.arange(len(cross), device=cross.device)
    z, y, t = found.clone(), found.clone(), cross.new_ones(len(cross), 1)
    for first in range(0, iterations, _LOOKS):
        for _ in range(min(_LOOKS, iterations - first)):
            following = shrunk(y - step * (y @ gram - cross), step * penalty)
            change, moved = y - following, following - z
            t = torch.where((change * moved).sum(-1, keepdim=True) > 0, 1.0, t)
            later = (1 + (1 + 4 * t.square()).sqrt()) / 2
            z, y, t = following, following + (t - 1) / later * moved, later
        found[rows] = z
        left = change.abs().amax(-1) > near * z.abs().amax(-1)
        if not bool(left.any()):
            break
        rows, z, y, t, cross = (value[left] for value in (rows, z, y, t, cross))
    return found


@_fista.register_fake
def _(gram: Tensor, cross: Tensor, penalty: float, iterations: int) -> Tensor:
    return torch.empty_like(cross)
