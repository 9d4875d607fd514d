"""A confidence interval for the logarithm of a mean of skew weights, each end by what can be off on its side.

The logarithm of a mean of M independent weights w, log Z^ = log (1/M) sum_m w_m with E[w] = Z, errs downward, by
Var[w] / (2 M Z^2) to leading order, and its delta-method error sd(w) / (mean(w) sqrt(M)) is small when the large
weights that make Z were not drawn. So the interval is not symmetric.

From above: the largest of two. The delta method's log Z^ + t s, t of Student's distribution with M - 1 degrees of
freedom; and the end for log-normal weights, which annealed ones come near to (Neal 2001, section 4), where
log Z = mu + sigma^2 / 2: from the mean m and the variance v of the log-weights, by MOVER (Zou, Taleban and Huo 2009)

    m + v / 2 + sqrt( t^2 v / M + (v / 2)^2 ((M - 1) / c - 1)^2 ),    c a quantile of chi-squared of M - 1 degrees.

From below: the nearer of two. The delta method's log Z^ - t s; and Markov's inequality, P(Z^ > Z / a) <= a whatever the
weights' distribution: log Z >= log Z^ - log(1 / a) with probability 1 - a.

For a mean over sizes k with shares p_k, sum_k p_k log Z_k, each term is averaged so; Markov's inequality holds since
by Jensen's E[prod_k (Z^_k / Z_k)^p_k] <= 1, and the chi-squared factor is taken as shared by all sizes, whose chains
are the same.

Neal, Annealed importance sampling, 2001. Zou, Taleban and Huo, Confidence interval estimation for lognormal data with
application to health economics, 2009.
"""

from __future__ import annotations

import math

from torch import Tensor

from ppgen.measuring.statistics import student_quantile
from ppgen.pairs.reductions import log_mean_exp, standard_error

__all__ = ["CONFIDENCE", "log_mean_interval"]

CONFIDENCE = 0.95
"""Of the intervals: 0.025 on either side."""


def log_mean_interval(log_w: Tensor, shares: Tensor, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Both ends for sum_k p_k log E[w_k], in nats.

    Args:
        log_w: (S, M), of M >= 2 independent chains at S sizes; one size: (1, M).
        shares: p, (S,), of sum 1.
        confidence: of both ends together.

    >>> import torch
    >>> log_mean_interval(torch.zeros(1, 5), torch.ones(1))  # weights without spread
    (0.0, 0.0)
    """
    tail, num = (1 - confidence) / 2, log_w.shape[1]
    log_w, shares = log_w.double(), shares.double()
    each = log_mean_exp(log_w.T)  # (S,)
    value, t = float(shares @ each), student_quantile(tail, num - 1)
    reach = t * standard_error(shares @ (log_w - each[:, None]).exp())
    return value - min(reach, -math.log(tail)), max(value + reach, _of_log_normal(log_w, shares, t, tail))


def _of_log_normal(log_w: Tensor, shares: Tensor, t: float, tail: float) -> float:
    """MOVER's upper end of the log of a log-normal mean."""
    of_chains, half, num = shares @ log_w, float(shares @ log_w.var(1)) / 2, log_w.shape[1]
    stretch = (num - 1) / _chi2_quantile(tail, num - 1) - 1
    return float(of_chains.mean()) + half + math.hypot(t * standard_error(of_chains), half * stretch)


def _chi2_quantile(probability: float, df: float) -> float:
    from scipy.special import chdtri  # slow to import, and not needed by most

    return float(chdtri(df, 1 - probability))
