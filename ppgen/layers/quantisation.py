"""A codebook: vectors become the nearest of C codes, with a gradient that passes as if they had not.

    k(v) = argmin_c |v - e_c|^2                 e: (C, d)
    q(v) = e_{k(v)},        dq/dv taken to be the identity (straight-through)

What moves codes, of vectors v_1 .. v_n of a batch:

    by gradient     that of  sum_i |sg v_i - e_{k(v_i)}|^2
    by averages     N_c' = a N_c + n_c,     e_c' = e_c + (sum_{i: k(v_i) = c} v_i - n_c e_c) / N_c'

with sg the stopped gradient, n_c the number of vectors nearest to c and a the decay. N begins at 0: of an a of 1 it is
online k-means, each code the mean of all vectors that were ever nearest to it (Sculley 2010, and scikit-learn's
``MiniBatchKMeans``), of an a of 0 a step of Lloyd's, and between the two the moving averages of van den Oord et al.,
appendix A.1 (eqs. 6 to 8, their N times 1 / (1 - a)). A code that no vector is nearest to stays where it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Codebook"]


class Codebook(nn.Module):
    """C codes of d numbers, which start uniform in [-1 / C, 1 / C].

    Tensors: ``codes`` (C, d), a parameter, or with a decay a buffer, beside ``counts`` N (C,).

    Args:
        num_codes: C.
        size: d.
        decay: a; None: codes are moved by gradient.

    >>> book = Codebook(2, 1)
    >>> book.codes.data = torch.tensor([[0.0], [4.0]])
    >>> v = torch.tensor([[1.0], [3.5]], requires_grad=True)
    >>> q = book(v)
    >>> q.sum().backward()
    >>> q.detach().T, v.grad.T
    (tensor([[0., 4.]]), tensor([[1., 1.]]))
    """

    codes: Tensor
    counts: Tensor

    def __init__(self, num_codes: int, size: int, decay: float | None = None) -> None:
        super().__init__()
        self.decay = decay
        codes = torch.empty(num_codes, size).uniform_(-1 / num_codes, 1 / num_codes)
        if decay is None:
            self.codes = nn.Parameter(codes)
        else:
            self.register_buffer("codes", codes)
            self.register_buffer("counts", torch.zeros(num_codes))

    @torch.no_grad()
    def nearest(self, v: Tensor) -> Tensor:
        """k(v), (..., d) to whole numbers (...)."""
        return (self.codes.square().sum(-1) - 2 * v @ self.codes.T).argmin(-1)

    def forward(self, v: Tensor) -> Tensor:
        """q(v), (..., d): the codes to the bit, with v's gradient."""
        return self.codes[self.nearest(v)].detach() + (v - v.detach())

    def terms(self, v: Tensor, commitment: float) -> Tensor:
        """|sg v - q|^2 + b |v - sg q|^2, b the commitment, (..., d) to (...); with a decay the second alone."""
        chosen = self.codes[self.nearest(v)]  # (..., d)
        committed = commitment * (v - chosen.detach()).square().sum(-1)
        return committed if self.decay is not None else committed + (v.detach() - chosen).square().sum(-1)

    @torch.no_grad()
    def averaged(self, v: Tensor) -> dict[str, Tensor]:
        """``codes`` and ``counts`` after vectors (..., d), where there is a decay; without one nothing."""
        if self.decay is None:
            return {}
        v = v.reshape(-1, v.shape[-1])
        chosen = nn.functional.one_hot(self.nearest(v), len(self.codes)).to(v)  # (n, C)
        found = chosen.sum(0)  # (C,)
        counts = self.decay * self.counts + found
        moved = (chosen.T @ v - found[:, None] * self.codes) / counts.clamp_min(1)[:, None]
        return {"codes": self.codes + moved, "counts": counts}
