"""Functions of uniform noise by which discrete units are made."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["inside", "log_exponential", "logit", "open_uniform"]


def open_uniform(like: Tensor) -> Tensor:
    """Uniform on (0, 1): torch's may be 0."""
    return torch.rand_like(like).clamp_min(torch.finfo(like.dtype).tiny)


def logit(u: Tensor) -> Tensor:
    """log u - log(1 - u)."""
    return u.log() - (-u).log1p()


def log_exponential(u: Tensor) -> Tensor:
    """log(-log u): minus a standard Gumbel variable."""
    return (-u.log()).log()


def inside(v: Tensor) -> Tensor:
    """v kept within (0, 1), where rounding took it out."""
    limits = torch.finfo(v.dtype)
    return v.clamp(limits.tiny, 1 - limits.eps)
