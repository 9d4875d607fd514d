"""Reductions over particles, in nats: (K, B) -> (B,)."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["effective_sample_size", "log_mean_exp", "standard_error", "weighted_sum"]


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log (1/K) sum_k exp(log w_k) over dim 0, stably.

    >>> import torch
    >>> log_mean_exp(torch.tensor([[0.0], [0.0]]))
    tensor([0.])
    """
    return log_w.logsumexp(0) - math.log(log_w.shape[0])


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """sum_k weights_k values_k over dim 0, in which a weight of 0 leaves a value out, even an infinite one.

    >>> import torch
    >>> weighted_sum(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0], [-torch.inf]]))
    tensor([2.])
    """
    return (weights * values.where(weights != 0, 0.0)).sum(0)


def effective_sample_size(log_w: Tensor) -> Tensor:
    """1 / sum_k u_k^2 of log-weights (K, B), (B,): how many draws of the posterior the K weighted ones are worth.

    >>> import torch
    >>> effective_sample_size(torch.zeros(4, 1))
    tensor([4.])
    """
    log_u = log_w.log_softmax(0)
    return (-(2 * log_u).logsumexp(0)).exp()


def standard_error(values: Tensor) -> float:
    """Of the mean of independent values, (N,): sd / sqrt(N)."""
    return float(values.std()) / math.sqrt(len(values))
