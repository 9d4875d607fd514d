"""What the log-weights of a datum tell of its guide: functions of (K, B) that give (B,).

With w_k = p(x, z_k) / q(z_k | x) and their shares u_k = w_k / sum_j w_j,

    effective sample size      1 / sum_k u_k^2                     in [1, K]
    perplexity of the weights  exp( -sum_k u_k log u_k )           in [1, K]
    Pareto k-hat               the shape k of the generalized Pareto distribution fitted to the largest w_k

w has finite moments up to order 1/k. Below 1/2 its variance is finite; up to 0.7 importance sampling still works at a
rate that serves; above it, the mean of the w_k that came up says little about their expectation, p(x). Of K draws a
finite k is told apart only up to

    min(1 - 1 / log10 K, 0.7).

A guide q = N(m, c^2 s^2) for a posterior N(m, s^2) in one dimension, c < 1, has log w = (1 - c^2) t^2 / 2 + constant
with t ~ N(0, 1), so that P(w > y) falls as y^{-1 / (1 - c^2)} and k = 1 - c^2; a guide as wide or wider has bounded
weights. The k-hat here is that of *one* datum: of the product of the weights of many data it grows with their number
whatever the guide.

Kong, A note on importance sampling using standardized weights, 1992 (effective sample size). Vehtari, Simpson, Gelman,
Yao and Gabry, Pareto smoothed importance sampling, JMLR 2024 (k-hat, the threshold of a sample size: section 3.2.4).
Yao, Vehtari, Simpson and Gelman, Yes, but did it work?, ICML 2018 (k-hat of a variational guide).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.pairs.reductions import effective_sample_size
from ppgen.posterior.arviz_bridge import pareto_k_of

__all__ = [
    "check_tail",
    "effective_sample_size",
    "k_threshold",
    "pareto_k",
    "tail_length",
    "weight_perplexity",
    "without_weights",
]

_LEAST_TAIL = 25
"""Draws in the tail by which a k-hat can be told."""

_EQUAL = 1e-3
"""Nats: log-weights that differ by less may do so by rounding, single precision's in a sum of hundreds of terms."""


def weight_perplexity(log_w: Tensor) -> Tensor:
    """exp of the entropy of the shares of log-weights (K, B), (B,): how many draws carry the weight.

    >>> weight_perplexity(torch.tensor([[0.0], [0.0], [-torch.inf]]))
    tensor([2.])
    """
    u = log_w.softmax(0)
    entropy: Tensor = -torch.special.xlogy(u, u).sum(0)
    return entropy.exp()


def pareto_k(log_w: Tensor) -> Tensor:
    """The Pareto k-hat of each datum's log-weights, (K, B) to (B,), float64.

    0 where the largest weights are equal up to rounding, as under an exact guide: there is no tail.

    Raises:
        UsageError: the log-weights are not (K, B), one is NaN or +inf (the datum is named), or K is too small for 25
            draws in the tail.
    """
    _check(log_w)
    values = log_w.detach().double()
    top = values.topk(tail_length(len(values)) + 1, dim=0).values  # (tail + 1, B)
    with_tail = top[0] > top[-1] + _EQUAL
    k = torch.zeros_like(values[0])
    if bool(with_tail.any()):
        k[with_tail] = pareto_k_of(values[:, with_tail])
    return k


def k_threshold(num_particles: int) -> float:
    """min(1 - 1 / log10 K, 0.7): the k-hat above which K draws do not tell the mean of their weights.

    >>> round(k_threshold(1000), 3), k_threshold(10_000)
    (0.667, 0.7)
    """
    return min(1 - 1 / math.log10(num_particles), 0.7)


def without_weights(log_w: Tensor) -> Tensor:
    """Whether a datum has a log-weight that is NaN or +inf, or none that is finite: (K, B) to (B,)."""
    return log_w.isnan().any(0) | log_w.isposinf().any(0) | log_w.isneginf().all(0)


def tail_length(num_particles: int) -> int:
    """How many of K draws are the tail: min(K / 5, 3 sqrt K)."""
    return math.ceil(min(num_particles / 5, 3 * math.sqrt(num_particles)))


def check_tail(num_particles: int) -> None:
    """K draws have a tail long enough for a k-hat.

    Raises:
        UsageError: fewer than 25 of them are the tail.
    """
    if (tail := tail_length(num_particles)) < _LEAST_TAIL:
        raise UsageError(
            f"a k-hat needs {_LEAST_TAIL} draws in the tail, and {num_particles:,} log-weights have {tail}: draw "
            f"{5 * _LEAST_TAIL} particles or more."
        )


def _check(log_w: Tensor) -> None:
    if log_w.dim() != 2:
        raise UsageError(f"expected log-weights of shape (K, B), got {tuple(log_w.shape)}: see ppgen.log_weights.")
    check_tail(len(log_w))
    wrong = without_weights(log_w)
    if bool(wrong.any()):
        raise UsageError(
            f"datum {int(wrong.nonzero()[0])} has a log-weight that is NaN or +inf, or none that is finite: look at "
            "the guide's output for that datum."
        )
