"""Sweeps over binary units that are joined each with each: one unit after another, all chains side by side.

Gibbs sweeps draw each unit given the others; at zero temperature they are descents, in which no draw is left.

Within a step's graph a sweep is one operator, whatever the number of units; it has no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["descent", "gibbs_sweep"]


def gibbs_sweep(s: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One sweep that leaves p(s) ∝ exp(bias s + s' weight s / 2) invariant, s in {0, 1}^N.

    Each unit in turn is drawn from Bernoulli(sigmoid(bias_i + sum_j weight_ij s_j)), given all others as they are.

    Args:
        s: states, (..., N).
        weight: (..., N, N), symmetric with a zero diagonal; leading dims, if any, broadcast with those of ``s``.
        bias: (..., N), likewise.
    """
    u = torch.rand_like(s).logit()  # sigmoid(l) > u, unit by unit
    swept: Tensor = torch.ops.ppgen.gibbs(s, u, weight, bias)
    return swept


def descent(s: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One sweep after which bias s + s' weight s / 2 is no lower: each unit in turn goes where its field points.

    A unit whose field bias_i + sum_j weight_ij s_j is 0 stays as it is. Arguments are those of
    :func:`gibbs_sweep`, whose limit it is where ``weight`` and ``bias`` are divided by a temperature that goes to 0.
    """
    stays = torch.finfo(s.dtype).tiny * (1 - 2 * s)
    swept: Tensor = torch.ops.ppgen.gibbs(s, stays, weight, bias)
    return swept


def _gibbs(s: Tensor, u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    s = s.clone()
    for i in range(s.shape[-1]):
        field = s @ weight[i] if weight.dim() == 2 else (s * weight[..., i]).sum(-1)
        s[..., i] = u[..., i] < bias[..., i] + field
    return s


def _shape_of_gibbs(s: Tensor, u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.empty_like(s)


_LIBRARY = torch.library.Library("ppgen", "FRAGMENT")
_LIBRARY.define("gibbs(Tensor s, Tensor u, Tensor weight, Tensor bias) -> Tensor")
_LIBRARY.impl("gibbs", _gibbs, "CompositeExplicitAutograd")
torch.library.register_fake("ppgen::gibbs", _shape_of_gibbs, lib=_LIBRARY)
