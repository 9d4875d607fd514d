"""Reductions over particles, in nats: (K, B) -> (B,)."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["log_mean_exp"]


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log (1/K) sum_k exp(log w_k) over dim 0, stably.

    >>> import torch
    >>> log_mean_exp(torch.tensor([[0.0], [0.0]]))
    tensor([0.])
    """
    return log_w.logsumexp(0) - math.log(log_w.shape[0])
